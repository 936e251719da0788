"""Unsupervised domain adaptation for MMSegmentation 1.x.

Importing the package imports nothing else of it, neither torch nor mmseg, so that a network made of its parts needs no
more than these parts. Configs name what registers everything that there is:
``custom_imports = dict(imports=['cda_mmseg.registration'], allow_failed_imports=False)``.
"""

from cda_mmseg.environment import check_environment
from cda_mmseg.version import __version__

check_environment()

__all__ = ['__version__']
