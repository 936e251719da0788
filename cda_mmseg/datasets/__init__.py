"""Source data sets in their official layouts, and the transforms that read raw labels."""

import cda_mmseg.host  # noqa: F401

from .both_domains import BothDomainsDataset
from .gtav import GTAVDataset
from .synthia import SynthiaDataset
from .transforms import LoadImage, LoadLabelIds, LoadSuperpixels, TagDomain
from .urbansyn import UrbanSynDataset

__all__ = [
    'BothDomainsDataset',
    'GTAVDataset',
    'LoadImage',
    'LoadLabelIds',
    'LoadSuperpixels',
    'SynthiaDataset',
    'TagDomain',
    'UrbanSynDataset',
]
