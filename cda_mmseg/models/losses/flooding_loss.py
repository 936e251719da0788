"""Flooding (Ishida et al., Do We Need Zero Training Loss After Achieving Zero Training Error?, ICML 2020)."""

from collections.abc import Sequence

from mmseg.registry import MODELS
from torch import Tensor

from cda_mmseg.models.losses.checks import check_number
from cda_mmseg.models.losses.cross_entropy_loss import cross_entropy_rule
from cda_mmseg.models.losses.level_loss import LevelLoss


@MODELS.register_module()
class FloodingLoss(LevelLoss):
    """Compute ``|m - b| + b`` of the mean cross entropy m: descent above the flood level b, ascent below.

    The reversed :class:`ConservativeLoss` of the same level pulls the same mean to ln a.

    Args:
        flood (float): b, at least 0, in nats.
        level (str): What the mean is taken over: 'batch' as in the paper, 'image', or 'pixel' for no mean at all.
            Defaults to 'batch'.
        loss_weight (float): Factor of the whole loss. Defaults to 1.0.
        class_weight (Sequence[float] | str | None): See :class:`PixelLoss`. Defaults to None.
        avg_non_ignore (bool): See :class:`PixelLoss`. Defaults to True.
        reduction (str): 'none', 'mean' or 'sum'. Defaults to 'mean'.
        loss_name (str): Name in the log. Defaults to 'loss_flooding'.

    Raises:
        ValueError: If a value is out of its range; the message names the key.
    """

    def __init__(
        self,
        flood: float,
        level: str = 'batch',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | str | None = None,
        avg_non_ignore: bool = True,
        reduction: str = 'mean',
        loss_name: str = 'loss_flooding',
    ) -> None:
        super().__init__(level, loss_weight, class_weight, avg_non_ignore, reduction, loss_name)
        self.flood = check_number('FloodingLoss', 'flood', flood, at_least=0)

    def value_and_slope_of_mean(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the flooded mean, and its derivative."""
        distance = mean - self.flood
        return distance.abs() + self.flood, distance.sign()

    def value_and_slope(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the flooded cross entropy of a pixel, and its derivative with respect to its log-odds."""
        surprise, slope = cross_entropy_rule(log_odds)
        value, sign = self.value_and_slope_of_mean(surprise)
        return value, slope.mul_(sign)

    def extra_repr(self) -> str:
        """Describe the settings for the module's printed form."""
        return f'flood={self.flood:g}, level={self.level!r}, {super().extra_repr()}'
