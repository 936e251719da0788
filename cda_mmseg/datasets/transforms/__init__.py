"""Transforms that read raw downloads, tag samples with their domain, and give pictures the target's look."""

from .load_image import LoadImage
from .load_label_ids import LoadLabelIds
from .load_superpixels import LoadSuperpixels
from .tag_domain import TagDomain
from .target_style import ColourStatistics, FourierAdaptation

__all__ = ['ColourStatistics', 'FourierAdaptation', 'LoadImage', 'LoadLabelIds', 'LoadSuperpixels', 'TagDomain']
