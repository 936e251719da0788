"""Networks that make pictures."""

from cda_mmseg.models.generators.image_generator import ImageGenerator

__all__ = ['ImageGenerator']
