"""Look at data before anything is trained on it."""

import cda_mmseg.host  # noqa: F401

from .survey import DataSetReport, Finding, Survey, survey, write_good_lists

__all__ = ['DataSetReport', 'Finding', 'Survey', 'survey', 'write_good_lists']
