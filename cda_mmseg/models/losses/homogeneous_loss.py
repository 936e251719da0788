"""The losses of the same kind as the Conservative Loss (Zhu et al., ECCV 2018, Eq. 4 to 6 and Table 6).

The paper does not give λ₁, λ₂, α and β. The defaults here are this project's choice, made to stand beside the
Conservative Loss at a = e and λ = 5:

* λ₂ = α = 5e³ ≈ 100.43: CL's leading Taylor term at p = 1/e is -e³ (p - 1/e)³.
* λ₁ ≈ 136.17 and β ≈ 60.25: the least-squares fit of the cubic to 5 CL over p, uniformly weighted, with c the
  intersection, λ = -∫ 5 CL(p) (p - c)³ dp / ∫ (p - c)⁶ dp; over [.05, .95] for λ₁ (c = 1/2) and over [1/e, .95] for β
  (c = 1/e).
"""

import math
from collections.abc import Sequence

import torch
from mmseg.registry import MODELS
from torch import Tensor

from cda_mmseg.models.losses.checks import check_number
from cda_mmseg.models.losses.pixel_loss import PixelLoss

TAYLOR_WEIGHT = 5 * math.e**3
HALF_WEIGHT = 136.16737933667960
BETA = 60.251289060516722

_DEFAULT_WEIGHTS = {0.5: HALF_WEIGHT, 1 / math.e: TAYLOR_WEIGHT}


def _cubic(log_odds: Tensor, intersection: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return p_t - c, -(p_t - c)³ and the latter's derivative with respect to the log-odds."""
    probability = torch.sigmoid(-log_odds)
    distance = probability - intersection
    square = distance.square()
    # dp/dx = -p (1 - p); 1 - p from the sigmoid keeps its digits at p near 1.
    slope = probability.mul_(torch.sigmoid(log_odds)).mul_(square).mul_(3)
    return distance, square.mul_(distance).neg_(), slope


@MODELS.register_module()
class CubicLoss(PixelLoss):
    """Compute the cubic loss ``-λ (p_t - c)³``, Loss₁ (c = 1/2, Eq. 4) and Loss₂ (c = 1/e, Eq. 5) of the paper.

    Args:
        intersection (float): c, the probability at which the loss is 0, in [0, 1]. Defaults to 1/e.
        loss_weight (float | None): λ. Defaults to None, which stands for λ₁ ≈ 136.17 at c = 1/2 and for λ₂ = 5e³ at
            c = 1/e (see the module's docstring); other intersections need a number.
        class_weight (Sequence[float] | str | None): See :class:`PixelLoss`. Defaults to None.
        avg_non_ignore (bool): See :class:`PixelLoss`. Defaults to True.
        reduction (str): 'none', 'mean' or 'sum'. Defaults to 'mean'.
        loss_name (str): Name in the log. Defaults to 'loss_cubic'.

    Raises:
        ValueError: If a value is out of its range or λ has no default; the message names the key.
    """

    def __init__(
        self,
        intersection: float = 1 / math.e,
        loss_weight: float | None = None,
        class_weight: Sequence[float] | str | None = None,
        avg_non_ignore: bool = True,
        reduction: str = 'mean',
        loss_name: str = 'loss_cubic',
    ) -> None:
        intersection = check_number('CubicLoss', 'intersection', intersection, at_least=0, at_most=1)
        if loss_weight is None:
            loss_weight = next((w for c, w in _DEFAULT_WEIGHTS.items() if math.isclose(c, intersection)), None)
            if loss_weight is None:
                raise ValueError(
                    f'CubicLoss: loss_weight has a default for intersection 1/2 and 1/e only; give it for '
                    f'{intersection!r}.'
                )
        super().__init__(loss_weight, class_weight, avg_non_ignore, reduction, loss_name)
        self.intersection = intersection

    def value_and_slope(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the cubic without λ, and its derivative."""
        return _cubic(log_odds, self.intersection)[1:]

    def extra_repr(self) -> str:
        """Describe the settings for the module's printed form."""
        return f'intersection={self.intersection:g}, {super().extra_repr()}'


@MODELS.register_module()
class PiecewiseCubicLoss(PixelLoss):
    """Compute ``-α (p_t - c)³`` below c and ``-β (p_t - c)³`` from c on, Loss₃ of the paper (Eq. 6).

    Args:
        alpha (float): α, at least 0. Defaults to 5e³ (see the module's docstring).
        beta (float): β, at least 0. Defaults to 60.25 (see the module's docstring).
        intersection (float): c, the probability at which the loss is 0, in [0, 1]. Defaults to 1/e.
        loss_weight (float): Factor of the whole loss. Defaults to 1.0.
        class_weight (Sequence[float] | str | None): See :class:`PixelLoss`. Defaults to None.
        avg_non_ignore (bool): See :class:`PixelLoss`. Defaults to True.
        reduction (str): 'none', 'mean' or 'sum'. Defaults to 'mean'.
        loss_name (str): Name in the log. Defaults to 'loss_piecewise_cubic'.

    Raises:
        ValueError: If a value is out of its range; the message names the key.
    """

    def __init__(
        self,
        alpha: float = TAYLOR_WEIGHT,
        beta: float = BETA,
        intersection: float = 1 / math.e,
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | str | None = None,
        avg_non_ignore: bool = True,
        reduction: str = 'mean',
        loss_name: str = 'loss_piecewise_cubic',
    ) -> None:
        super().__init__(loss_weight, class_weight, avg_non_ignore, reduction, loss_name)
        self.alpha = check_number('PiecewiseCubicLoss', 'alpha', alpha, at_least=0)
        self.beta = check_number('PiecewiseCubicLoss', 'beta', beta, at_least=0)
        self.intersection = check_number('PiecewiseCubicLoss', 'intersection', intersection, at_least=0, at_most=1)

    def value_and_slope(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the piecewise cubic, and its derivative."""
        distance, value, slope = _cubic(log_odds, self.intersection)
        factor = torch.full_like(distance, self.beta).masked_fill_(distance < 0, self.alpha)
        return value.mul_(factor), slope.mul_(factor)

    def extra_repr(self) -> str:
        """Describe the settings for the module's printed form."""
        return f'alpha={self.alpha:g}, beta={self.beta:g}, intersection={self.intersection:g}, {super().extra_repr()}'
