"""Networks, losses and segmentors, registered in mmseg's registries."""

from cda_mmseg.models import backbones, decode_heads, discriminators, generators, losses, segmentors

__all__ = ['backbones', 'decode_heads', 'discriminators', 'generators', 'losses', 'segmentors']
