"""What runs came to, in one HTML file."""

import cda_mmseg.registration  # noqa: F401
from cda_mmseg.report.report import write_report
from cda_mmseg.report.run import default_name, named_folder

__all__ = ['default_name', 'named_folder', 'write_report']
