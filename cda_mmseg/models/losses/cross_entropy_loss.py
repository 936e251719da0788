"""Cross entropy with the reduction, precision and speed of this project's other losses."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from cda_mmseg.models.losses.pixel_loss import PixelLoss


@MODELS.register_module()
class SoftmaxCrossEntropyLoss(PixelLoss):
    """Compute the cross entropy ``-ln p_t``.

    Against mmseg's CrossEntropyLoss: the mean is over the labelled pixels of all processes, without a host
    synchronisation, and it takes less time and memory because it shares the fused function of :class:`PixelLoss`.

    Args:
        loss_weight (float): Factor of the whole loss. Defaults to 1.0.
        class_weight (Sequence[float] | str | None): See :class:`PixelLoss`. Defaults to None.
        avg_non_ignore (bool): See :class:`PixelLoss`. Defaults to True.
        reduction (str): 'none', 'mean' or 'sum'. Defaults to 'mean'.
        loss_name (str): Name in the log. Defaults to 'loss_ce'.

    Raises:
        ValueError: If a value is out of its range; the message names the key.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | str | None = None,
        avg_non_ignore: bool = True,
        reduction: str = 'mean',
        loss_name: str = 'loss_ce',
    ) -> None:
        super().__init__(loss_weight, class_weight, avg_non_ignore, reduction, loss_name)

    def value_and_slope(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        """Compute -ln p_t, and its derivative.

        Args:
            log_odds (Tensor): Log-odds against the labelled class, any shape, float32 or float64.

        Returns:
            tuple[Tensor, Tensor]: The loss, and its derivative with respect to ``log_odds``.
        """
        return F.softplus(log_odds, threshold=40), torch.sigmoid(log_odds)  # the threshold keeps float64 exact
