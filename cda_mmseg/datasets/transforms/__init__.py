"""Transforms that read raw downloads and tag samples with their domain."""

from .load_image import LoadImage
from .load_label_ids import LoadLabelIds
from .tag_domain import TagDomain

__all__ = ['LoadImage', 'LoadLabelIds', 'TagDomain']
