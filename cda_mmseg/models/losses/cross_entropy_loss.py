"""Cross entropy with the reduction, precision and speed of this project's other losses."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from cda_mmseg.models.losses.checks import check_number
from cda_mmseg.models.losses.pixel_loss import PixelLoss


def cross_entropy_rule(log_odds: Tensor) -> tuple[Tensor, Tensor]:
    """Compute -ln p_t, and its derivative.

    Args:
        log_odds (Tensor): Log-odds against the labelled class, any shape, float32 or float64.

    Returns:
        tuple[Tensor, Tensor]: The surprise s = -ln p_t, and its derivative with respect to ``log_odds``, 1 - p_t.
    """
    return F.softplus(log_odds, threshold=40), torch.sigmoid(log_odds)  # the threshold keeps float64 exact


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
        label_smoothing (float): ε in [0, 1]: the loss is (1 - ε) times the cross entropy of the label plus ε times the
            mean of those of all classes (Szegedy et al., *Rethinking the Inception Architecture*, CVPR 2016, section
            7). It is PyTorch's own then, which takes more memory. Defaults to 0.

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
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(loss_weight, class_weight, avg_non_ignore, reduction, loss_name)
        self.label_smoothing = check_number(
            'SoftmaxCrossEntropyLoss', 'label_smoothing', label_smoothing, at_least=0, at_most=1
        )

    def value_and_slope(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        """Compute -ln p_t, and its derivative; see :func:`cross_entropy_rule`."""
        return cross_entropy_rule(log_odds)

    def pixel_losses(self, cls_score: Tensor, label: Tensor, ignored: Tensor, factor: Tensor | None) -> Tensor:
        """Compute the cross entropy at each pixel, with smoothed labels if asked for."""
        if self.label_smoothing == 0:
            return super().pixel_losses(cls_score, label, ignored, factor)
        scores = cls_score.to(torch.promote_types(cls_score.dtype, torch.float32))
        losses = F.cross_entropy(scores, label, reduction='none', label_smoothing=self.label_smoothing)
        return losses.masked_fill(ignored, 0)
