"""The α-balanced focal loss over the softmax (Lin et al., ICCV 2017), as compared in Zhu et al., ECCV 2018, Fig. 5."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from cda_mmseg.models.losses.checks import check_number
from cda_mmseg.models.losses.pixel_loss import PixelLoss


@MODELS.register_module()
class SoftmaxFocalLoss(PixelLoss):
    """Compute the focal loss ``-α (1 - p_t)^γ ln p_t`` of the softmax probability; mmseg's FocalLoss takes sigmoids.

    Args:
        alpha (float): α, at least 0. Defaults to 5.0, the paper's value.
        gamma (float): γ, at least 0. Defaults to 2.0, the paper's value.
        loss_weight (float): Factor of the whole loss. Defaults to 1.0.
        class_weight (Sequence[float] | str | None): See :class:`PixelLoss`. Defaults to None.
        avg_non_ignore (bool): See :class:`PixelLoss`. Defaults to True.
        reduction (str): 'none', 'mean' or 'sum'. Defaults to 'mean'.
        loss_name (str): Name in the log. Defaults to 'loss_focal'.

    Raises:
        ValueError: If a value is out of its range; the message names the key.
    """

    def __init__(
        self,
        alpha: float = 5.0,
        gamma: float = 2.0,
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | str | None = None,
        avg_non_ignore: bool = True,
        reduction: str = 'mean',
        loss_name: str = 'loss_focal',
    ) -> None:
        super().__init__(loss_weight, class_weight, avg_non_ignore, reduction, loss_name)
        self.alpha = check_number('SoftmaxFocalLoss', 'alpha', alpha, at_least=0)
        self.gamma = check_number('SoftmaxFocalLoss', 'gamma', gamma, at_least=0)

    def value_and_slope(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the focal loss, and its derivative."""
        probability_of_others = torch.sigmoid(log_odds)
        surprise = F.softplus(log_odds, threshold=40)  # -ln p_t; the threshold keeps float64 exact
        factor = probability_of_others.pow(self.gamma).mul_(self.alpha)
        # d/dx (1 - p)^γ s = (1 - p)^γ (γ p s + 1 - p)
        slope = torch.sigmoid(-log_odds).mul_(surprise).mul_(self.gamma).add_(probability_of_others).mul_(factor)
        return surprise.mul_(factor), slope

    def extra_repr(self) -> str:
        """Describe the settings for the module's printed form."""
        return f'alpha={self.alpha:g}, gamma={self.gamma:g}, {super().extra_repr()}'
