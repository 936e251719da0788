"""Losses of the labelled class's probability at each pixel, or of the mean over an image or the batch."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from torch import Tensor

from cda_mmseg.models.losses.checks import check_choice
from cda_mmseg.models.losses.cross_entropy_loss import cross_entropy_rule
from cda_mmseg.models.losses.log_odds_function import LossRule
from cda_mmseg.models.losses.pixel_loss import PixelLoss

LEVELS = ('pixel', 'image', 'batch')


class LevelLoss(PixelLoss):
    """Compute a loss f(s) of the surprise s = -ln p_t of each pixel, or of a mean of it.

    With ``level='image'`` or ``'batch'``, m is the mean of s over the labelled pixels of the image, or of all images
    and processes, and p_t is read as exp(-m). Every labelled pixel then counts with f(m), and its gradient is f'(m)
    times that of its own cross entropy: summed up with any reduction but 'none', the gradient of f(m) times the sum of
    the weights. Weights of classes and pixels therefore act as at a pixel, as factors of what a pixel counts, and m is
    the mean that they weigh. With gradient accumulation a batch is what one forward pass sees.

    Args:
        level (str): 'pixel', 'image' or 'batch'.
        loss_weight (float): See :class:`PixelLoss`.
        class_weight (Sequence[float] | str | None): See :class:`PixelLoss`.
        avg_non_ignore (bool): See :class:`PixelLoss`.
        reduction (str): See :class:`PixelLoss`.
        loss_name (str): See :class:`PixelLoss`.

    Raises:
        ValueError: If a value is out of its range; the message names the key.
    """

    def __init__(
        self,
        level: str,
        loss_weight: float,
        class_weight: Sequence[float] | str | None,
        avg_non_ignore: bool,
        reduction: str,
        loss_name: str,
    ) -> None:
        super().__init__(loss_weight, class_weight, avg_non_ignore, reduction, loss_name)
        self.level = check_choice(type(self).__name__, 'level', level, LEVELS)

    @abstractmethod
    def value_and_slope_of_mean(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Compute f(m), without ``loss_weight``, and its derivative.

        Args:
            mean (Tensor): Mean surprise, greater than 0, any shape, float32 or float64.

        Returns:
            tuple[Tensor, Tensor]: f(m), and what training uses as its derivative with respect to ``mean``.
        """

    def pixel_losses(
        self,
        cls_score: Tensor,
        label: Tensor,
        ignored: Tensor,
        factor: Tensor | None,
        rule: LossRule | None = None,
    ) -> Tensor:
        """Compute the loss at each pixel, that of the mean alike at all pixels of an image or the batch.

        ``rule`` stands in the place of :meth:`value_and_slope` or :meth:`value_and_slope_of_mean`.
        """
        if self.level == 'pixel':
            return super().pixel_losses(cls_score, label, ignored, factor, rule)
        surprise = super().pixel_losses(cls_score, label, ignored, factor, cross_entropy_rule)
        with torch.no_grad():
            value, slope = (rule or self.value_and_slope_of_mean)(self._mean(surprise, ignored, factor))
        # The second term is 0; it brings the gradient.
        return (value + slope * (surprise - surprise.detach())).masked_fill(ignored, 0)

    def _mean(self, surprise: Tensor, ignored: Tensor, factor: Tensor | None) -> Tensor:
        """Average the surprise over an image, (N, 1, ...), or the batch, (1, ...)."""
        weights = (~ignored).to(surprise.dtype) if factor is None else factor * ~ignored
        dims = list(range(1 if self.level == 'image' else 0, surprise.dim()))
        sums = torch.stack([(weights * surprise).sum(dims, keepdim=True), weights.sum(dims, keepdim=True)])
        if self.level == 'batch':
            all_reduce(sums)
        # Without a weight there is nothing to average, and what is returned is multiplied by 0. The lower bound, below
        # what float32 tells from certainty, keeps logarithms and their slopes finite.
        smallest = 1e-30
        return (sums[0] / sums[1].clamp(min=smallest)).clamp(min=smallest)
