"""Networks that judge pictures and maps."""

from cda_mmseg.models.discriminators.feature_discriminator import FeatureDiscriminator
from cda_mmseg.models.discriminators.patchgan import PatchGANDiscriminator

__all__ = ['FeatureDiscriminator', 'PatchGANDiscriminator']
