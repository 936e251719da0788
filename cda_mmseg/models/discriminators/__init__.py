"""Networks that judge pictures."""

from cda_mmseg.models.discriminators.patchgan import PatchGANDiscriminator

__all__ = ['PatchGANDiscriminator']
