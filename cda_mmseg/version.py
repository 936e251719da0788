"""The release this is; setup.py reads it."""

__version__ = '0.1.0'
