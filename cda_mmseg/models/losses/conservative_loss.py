"""The Conservative Loss (Zhu et al., Penalizing Top Performers, ECCV 2018, Eq. 2 and 3)."""

import math
import warnings
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from cda_mmseg.models.losses.checks import check_choice, check_number
from cda_mmseg.models.losses.level_loss import LevelLoss

GRADIENTS = ('literal', 'reversed', 'weighted')
BELOW = ('conservative', 'ce')

# Below these log-odds log(-log p_t) equals the log-odds to the last digit, and p_t is 1 in every floating-point type.
_LOWEST_LOG_ODDS = -50.0


@MODELS.register_module()
class ConservativeLoss(LevelLoss):
    """Compute the Conservative Loss, ``λ (1 + log_a p_t)² log_a(-log_a p_t)``.

    Implements Eq. 3 of Zhu et al., *Penalizing Top Performers: Conservative Loss for Semantic Segmentation
    Adaptation*, ECCV 2018. With s = -ln p_t and L = ln a it is λ (1 - s/L)² ln(s/L) / L: positive for p_t < 1/a,
    negative for p_t > 1/a, unbounded at both ends, and falling monotonically in p_t everywhere. Descent on it therefore
    always raises p_t, also where the paper speaks of gradient ascent, so the gradient can be read in three ways. The
    value is that of Eq. 3 in all of them.

    * 'literal': the derivative of Eq. 3.
    * 'reversed': the derivative of |CL|. Where p_t > 1/a the gradient of Eq. 3 is ascended, p_t = 1/a attracts.
    * 'weighted': the derivative of the cross entropy times CL, with CL held constant. As a weight CL grows like s² ln s
      (7e6 for a wrong class at a score of 1000), so λ CL is bounded by the largest number of the scores' type, which
      float16 alone has within reach.

    The equation leaves two more things to choose, both ours: what p_t < 1/a get (``below``), and of what p_t is the
    probability (``level``, see :class:`LevelLoss`).

    Args:
        base (float): a, greater than 1; the loss is 0 at p_t = 1/a. Defaults to e.
        loss_weight (float): λ. Defaults to 5.0.
        clamp (float | None): Bounds CL to [-clamp, clamp] before λ is applied. Beyond it the gradient is 0; for
            'weighted' the weight is bounded instead. Cross entropy is not bounded. Defaults to None, no bound.
        gradient (str): 'literal', 'reversed' or 'weighted'. Defaults to 'literal'.
        below (str): 'conservative' is Eq. 3. 'ce' exchanges it for cross entropy, less ln a, where p_t < 1/a: the value
            is continuous there, its slope in the log-odds jumps from 1 - 1/a, for a = e .632, to CL's 0. Defaults to
            'conservative'.
        level (str): 'pixel', or 'image' or 'batch' for p_t = exp(-mean cross entropy) over these. Defaults to 'pixel'.
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
        below: str = 'conservative',
        level: str = 'pixel',
        class_weight: Sequence[float] | str | None = None,
        avg_non_ignore: bool = True,
        reduction: str = 'mean',
        loss_name: str = 'loss_conservative',
    ) -> None:
        super().__init__(level, loss_weight, class_weight, avg_non_ignore, reduction, loss_name)
        self.base = check_number('ConservativeLoss', 'base', base, above=1)
        self.clamp = None if clamp is None else check_number('ConservativeLoss', 'clamp', clamp, above=0)
        self.gradient = check_choice('ConservativeLoss', 'gradient', gradient, GRADIENTS)
        self.below = check_choice('ConservativeLoss', 'below', below, BELOW)
        self.clamped_share: Tensor | None = None
        self.may_start_cold = True  # WarmStartLoss knows better

    def value_and_slope(self, log_odds: Tensor, largest_weight: float = math.inf) -> tuple[Tensor, Tensor]:
        """Compute CL, clamped if asked for, and the derivative in the chosen reading."""
        bounded = log_odds.clamp(min=_LOWEST_LOG_ODDS)
        probability_of_others = torch.sigmoid(bounded)
        surprise = F.softplus(bounded, threshold=40)  # s = -ln p_t; the threshold keeps float64 exact
        # The second term makes up for where s would underflow.
        return self._value_and_slope(surprise, probability_of_others, log_odds - bounded, largest_weight)

    def value_and_slope_of_mean(self, mean: Tensor, largest_weight: float = math.inf) -> tuple[Tensor, Tensor]:
        """Compute CL at p_t = exp(-mean), clamped if asked for, and the derivative in the chosen reading."""
        return self._value_and_slope(mean, torch.ones_like(mean), torch.zeros_like(mean), largest_weight)

    def _value_and_slope(
        self, surprise: Tensor, change: Tensor, correction: Tensor, largest_weight: float
    ) -> tuple[Tensor, Tensor]:
        """Compute CL and its slope from s, ds/dx for the slope's variable x, and what log s lacks by rounding."""
        log_base = math.log(self.base)
        ratio = surprise / log_base  # u = s / L = -log_a p_t
        below = ratio > 1 if self.below == 'ce' else None
        log_ratio = torch.log(ratio).add_(correction)  # ln(s / L)
        distance = 1 - ratio  # 1 + log_a p_t
        value = distance.square().mul_(log_ratio).div_(log_base)
        beyond = None if self.clamp is None else value.abs() > self.clamp
        if beyond is not None:
            value.clamp_(-self.clamp, self.clamp)
        if self.gradient == 'weighted':
            slope = change * value.clamp(-largest_weight, largest_weight)
        else:
            # dCL/dx = ds/dx dCL/ds = (ds/dx)/s (1 - u)(1 - u - 2 u ln u) / L, smooth down to s = 0 for the log-odds.
            slope = (change / surprise).mul_(distance)
            slope.mul_(distance.sub_(ratio.mul_(log_ratio), alpha=2)).div_(log_base)
            if self.gradient == 'reversed':
                slope.mul_(log_ratio.sign_())
            if beyond is not None:
                slope.masked_fill_(beyond, 0)
        if below is not None:
            value, slope = torch.where(below, surprise - log_base, value), torch.where(below, change, slope)
        return value, slope

    def pixel_losses(self, cls_score: Tensor, label: Tensor, ignored: Tensor, factor: Tensor | None) -> Tensor:
        """Compute CL at each pixel, and the share of clamped pixels."""
        largest_weight = torch.finfo(cls_score.dtype).max / max(self.loss_weight, 1.0)
        rule = self.value_and_slope if self.level == 'pixel' else self.value_and_slope_of_mean
        rule = partial(rule, largest_weight=largest_weight)
        losses = super().pixel_losses(cls_score, label, ignored, factor, rule)
        if self.clamp is not None:
            self._warn_of_cold_start(cls_score.shape[1])
            size = losses.detach() if self.below == 'conservative' else losses.detach().clamp(max=0)
            self.clamped_share = (size.abs() >= self.clamp).sum() / (~ignored).sum().clamp(min=1)
        return losses

    def extra_repr(self) -> str:
        """Describe the settings for the module's printed form."""
        return (
            f'base={self.base:g}, clamp={self.clamp}, gradient={self.gradient!r}, below={self.below!r}, '
            f'level={self.level!r}, {super().extra_repr()}'
        )

    def _warn_of_cold_start(self, num_classes: int) -> None:
        """Warn once if the clamp leaves a network that knows nothing without a gradient."""
        if not self.may_start_cold:
            return
        self.may_start_cold = False
        if self.gradient == 'weighted':
            return
        ratio = math.log(num_classes) / math.log(self.base)
        if self.below == 'ce' and ratio > 1:
            return
        value = (1 - ratio) ** 2 * math.log(ratio, self.base)
        if abs(value) > self.clamp:
            warnings.warn(
                f'ConservativeLoss: clamp={self.clamp:g} is below |CL(1/{num_classes})| = {abs(value):.3g} at '
                f'base={self.base:g}. A network that starts with equal probabilities gets no gradient, so a cold start '
                'cannot train. Use a larger clamp, a larger base, or a warm start (WarmStartLoss).',
                stacklevel=2,
            )
