"""Built-in worlds: small street scenes with a synthetic and a real look, in the official layouts."""

from .config import use_small_vgg, use_world
from .world import PAIRS, Domain, Pair, write_world

__all__ = ['PAIRS', 'Domain', 'Pair', 'use_small_vgg', 'use_world', 'write_world']
