"""Importing this registers everything that the package has in mmseg's registries."""

from cda_mmseg import datasets, engine, evaluation, visualization
from cda_mmseg.models import (
    adaptations,
    backbones,
    decode_heads,
    discriminators,
    generators,
    losses,
    segmentors,
    wrappers,
)

__all__ = [
    'adaptations',
    'backbones',
    'datasets',
    'decode_heads',
    'discriminators',
    'engine',
    'evaluation',
    'generators',
    'losses',
    'segmentors',
    'visualization',
    'wrappers',
]
