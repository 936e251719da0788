"""Networks, losses and segmentors, registered in mmseg's registries."""

from cda_mmseg.models import adaptations, backbones, decode_heads, discriminators, generators, losses, segmentors
from cda_mmseg.models.wrappers import PlayerDistributedDataParallel

__all__ = [
    'PlayerDistributedDataParallel',
    'adaptations',
    'backbones',
    'decode_heads',
    'discriminators',
    'generators',
    'losses',
    'segmentors',
]
