"""Run logs, curves, panels and tables."""

import cda_mmseg.host  # noqa: F401
