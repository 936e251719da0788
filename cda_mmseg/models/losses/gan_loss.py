"""Adversarial losses on a map of real/fake logits."""

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from cda_mmseg.models.losses.checks import check_choice

GAN_TYPES = ('vanilla', 'lsgan', 'hinge')


@MODELS.register_module()
class GANLoss(nn.Module):
    """Compute the mean adversarial loss of a discriminator's logits.

    * 'vanilla' (Goodfellow et al., 2014): binary cross entropy; for a generator the non-saturating form.
    * 'lsgan' (Mao et al., 2017): squared distance to 1 (real) or 0 (fake), without the factor 1/2.
    * 'hinge' (Lim and Ye, 2017): max(0, 1 - x) for real and max(0, 1 + x) for fake while the discriminator learns;
      -x or x for whoever wants it to answer real or fake.

    Args:
        gan_type (str): 'vanilla', 'lsgan' or 'hinge'. Defaults to 'vanilla'.

    Raises:
        ValueError: If ``gan_type`` is unknown.
    """

    def __init__(self, gan_type: str = 'vanilla') -> None:
        super().__init__()
        self.gan_type = check_choice('GANLoss', 'gan_type', gan_type, GAN_TYPES)

    @property
    def decision_boundary(self) -> float:
        """float: Output of the discriminator above which it says 'real'."""
        return 0.5 if self.gan_type == 'lsgan' else 0.0

    def forward(self, logits: Tensor, target_is_real: bool, for_discriminator: bool) -> Tensor:
        """Compute the loss, in float32 also inside autocast."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.gan_type == 'hinge':
            signed = -logits if target_is_real else logits
            return F.relu(1 + signed).mean() if for_discriminator else signed.mean()
        if self.gan_type == 'lsgan':
            return (logits - float(target_is_real)).square().mean()
        # softplus(-x) and softplus(x) are the binary cross entropies with the targets 1 and 0.
        return F.softplus(-logits if target_is_real else logits).mean()

    def extra_repr(self) -> str:
        """Describe the settings for the module's printed form."""
        return f'gan_type={self.gan_type!r}'
