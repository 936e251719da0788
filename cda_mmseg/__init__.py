"""Unsupervised domain adaptation for MMSegmentation 1.x."""

from cda_mmseg.environment import check_environment
from cda_mmseg.version import __version__

__all__ = ['__version__']

check_environment()
