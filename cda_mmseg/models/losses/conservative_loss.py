"""The Conservative Loss (Zhu et al., Penalizing Top Performers, ECCV 2018, Eq. 2 and 3)."""

import math
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from cda_mmseg.models.losses.checks import check_choice, check_number
from cda_mmseg.models.losses.pixel_loss import PixelLoss

GRADIENTS = ('literal', 'reversed', 'weighted')

# Below these log-odds log(-log p_t) equals the log-odds to the last digit, and p_t is 1 in every floating-point type.
_LOWEST_LOG_ODDS = -50.0


@MODELS.register_module()
class ConservativeLoss(PixelLoss):
    """Compute the Conservative Loss, ``λ (1 + log_a p_t)² log_a(-log_a p_t)``.

    Implements Eq. 3 of Zhu et al., *Penalizing Top Performers: Conservative Loss for Semantic Segmentation
    Adaptation*, ECCV 2018. With s = -ln p_t and L = ln a it is λ (1 - s/L)² ln(s/L) / L: positive for p_t < 1/a,
    negative for p_t > 1/a, unbounded at both ends, and falling monotonically in p_t everywhere. Descent on it therefore
    always raises p_t, also where the paper speaks of gradient ascent, so the gradient can be read in three ways. The
    value is that of Eq. 3 in all of them.

    * 'literal': the derivative of Eq. 3.
    * 'reversed': the derivative of |CL|. Where p_t > 1/a the gradient of Eq. 3 is ascended, p_t = 1/a attracts.
    * 'weighted': the derivative of the cross entropy times CL, with CL held constant.

    Args:
        base (float): a, greater than 1; the loss is 0 at p_t = 1/a. Defaults to e.
        loss_weight (float): λ. Defaults to 5.0.
        clamp (float | None): Bounds CL to [-clamp, clamp] before λ is applied. Beyond it the gradient is 0; for
            'weighted' the weight is bounded instead. Defaults to None, no bound.
        gradient (str): 'literal', 'reversed' or 'weighted'. Defaults to 'literal'.
        class_weight (Sequence[float] | str | None): See :class:`PixelLoss`. Defaults to None.
        avg_non_ignore (bool): See :class:`PixelLoss`. Defaults to True.
        reduction (str): 'none', 'mean' or 'sum'. Defaults to 'mean'.
        loss_name (str): Name in the log. Defaults to 'loss_conservative'.

    Attributes:
        clamped_share (Tensor | None): Share of the labelled pixels of this process, in [0, 1], that the last forward
            pass clamped: a scalar tensor on the scores' device without a graph, so that reading it into a log does not
            wait for the device. None without ``clamp`` or before the first forward pass. It is not saved.

    Raises:
        ValueError: If a value is out of its range; the message names the key.
    """

    def __init__(
        self,
        base: float = math.e,
        loss_weight: float = 5.0,
        clamp: float | None = None,
        gradient: str = 'literal',
        class_weight: Sequence[float] | str | None = None,
        avg_non_ignore: bool = True,
        reduction: str = 'mean',
        loss_name: str = 'loss_conservative',
    ) -> None:
        super().__init__(loss_weight, class_weight, avg_non_ignore, reduction, loss_name)
        self.base = check_number('ConservativeLoss', 'base', base, above=1)
        self.clamp = None if clamp is None else check_number('ConservativeLoss', 'clamp', clamp, above=0)
        self.gradient = check_choice('ConservativeLoss', 'gradient', gradient, GRADIENTS)
        self.clamped_share: Tensor | None = None
        self._cold_start_checked = False

    def value_and_slope(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        """Compute CL, clamped if asked for, and the derivative in the chosen reading.

        Args:
            log_odds (Tensor): Log-odds against the labelled class, any shape, float32 or float64.

        Returns:
            tuple[Tensor, Tensor]: CL without λ, and the derivative with respect to ``log_odds``.
        """
        log_base = math.log(self.base)
        bounded = log_odds.clamp(min=_LOWEST_LOG_ODDS)
        probability_of_others = torch.sigmoid(bounded)
        surprise = F.softplus(bounded, threshold=40)  # s = -ln p_t; the threshold keeps float64 exact
        ratio = surprise / log_base  # s / L = -log_a p_t
        log_ratio = torch.log(ratio).add_(log_odds - bounded)  # ln(s / L), also where s would underflow
        distance = 1 - ratio  # 1 + log_a p_t
        value = distance.square().mul_(log_ratio).div_(log_base)
        beyond = None if self.clamp is None else value.abs() > self.clamp
        if beyond is not None:
            value.clamp_(-self.clamp, self.clamp)
        if self.gradient == 'weighted':
            return value, probability_of_others * value
        # dCL/dx = (1 - p_t) dCL/ds = (1 - p_t)/s (1 - u)(1 - u - 2 u ln u) / L with u = s/L, smooth down to s = 0.
        slope = probability_of_others.div_(surprise).mul_(distance)
        slope.mul_(distance.sub_(ratio.mul_(log_ratio), alpha=2)).div_(log_base)
        if self.gradient == 'reversed':
            slope.mul_(log_ratio.sign_())
        if beyond is not None:
            slope.masked_fill_(beyond, 0)
        return value, slope

    def pixel_losses(self, cls_score: Tensor, label: Tensor, ignored: Tensor) -> Tensor:
        """Compute CL at each pixel, and the share of clamped pixels.

        Args:
            cls_score (Tensor): Class scores, (N, C, ...).
            label (Tensor): Class of each pixel, (N, ...), int64 in [0, C - 1], at ignored pixels as well.
            ignored (Tensor): True where a pixel has no label, (N, ...), bool.

        Returns:
            Tensor: CL, (N, ...), float32 or float64, 0 at ignored pixels.
        """
        losses = super().pixel_losses(cls_score, label, ignored)
        if self.clamp is not None:
            self._warn_of_cold_start(cls_score.shape[1])
            clamped = (losses.detach().abs() >= self.clamp).sum()
            self.clamped_share = clamped / (~ignored).sum().clamp(min=1)
        return losses

    def extra_repr(self) -> str:
        """Describe the settings for the module's printed form."""
        return f'base={self.base:g}, clamp={self.clamp}, gradient={self.gradient!r}, {super().extra_repr()}'

    def _warn_of_cold_start(self, num_classes: int) -> None:
        """Warn once if the clamp leaves a network that knows nothing without a gradient."""
        if self._cold_start_checked:
            return
        self._cold_start_checked = True
        if self.gradient == 'weighted':
            return
        ratio = math.log(num_classes) / math.log(self.base)
        value = (1 - ratio) ** 2 * math.log(ratio, self.base)
        if abs(value) > self.clamp:
            warnings.warn(
                f'ConservativeLoss: clamp={self.clamp:g} is below |CL(1/{num_classes})| = {abs(value):.3g} at '
                f'base={self.base:g}. A network that starts with equal probabilities gets no gradient, so a cold start '
                'cannot train. Use a larger clamp, a larger base, or a warm start (WarmStartLoss).',
                stacklevel=2,
            )
