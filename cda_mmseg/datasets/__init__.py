"""Source data sets in their official layouts, and the transforms that read raw labels."""

from .gtav import GTAVDataset
from .synthia import SynthiaDataset
from .transforms import LoadImage, LoadLabelIds, TagDomain

__all__ = ['GTAVDataset', 'LoadImage', 'LoadLabelIds', 'SynthiaDataset', 'TagDomain']
