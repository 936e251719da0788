"""Built-in worlds: small street scenes with a synthetic and a real look, in the official layouts."""

from .world import PAIRS, Domain, Pair, write_world

__all__ = ['PAIRS', 'Domain', 'Pair', 'write_world']
