"""Unsupervised domain adaptation for MMSegmentation 1.x.

Importing the package registers everything it has in mmseg's registries, so that a config needs
``custom_imports = dict(imports=['cda_mmseg'], allow_failed_imports=False)`` and nothing else.
"""

from cda_mmseg.environment import check_environment, without_misleading_notices
from cda_mmseg.version import __version__

check_environment()
with without_misleading_notices():
    from cda_mmseg import datasets, engine, evaluation, models, visualization

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models', 'visualization']
