"""What all losses of the labelled class's probability share: mmseg's contract, masking, weights and reduction."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmseg.models.losses.utils import get_class_weight
from torch import Tensor, nn

from cda_mmseg.models.losses.checks import check_choice, check_number
from cda_mmseg.models.losses.divisor import mean_divisor
from cda_mmseg.models.losses.log_odds_function import LossRule, pixel_losses
from cda_mmseg.utils.loading.plain_files import plain_files

REDUCTIONS = ('none', 'mean', 'sum')


def class_scores(scores: Tensor) -> Tensor:
    """Write one score map (N, 1, ...), of which mmseg takes the sigmoid, as those of two classes under a softmax."""
    return torch.cat([torch.zeros_like(scores), scores], 1) if scores.shape[1:2] == (1,) else scores


class PixelLoss(nn.Module, ABC):
    """Compute a segmentation loss that is a function of the labelled class's softmax probability at each pixel.

    A subclass gives the function and its derivative in :meth:`value_and_slope`. Everything is computed in float32 (in
    float64 for float64 scores), also inside autocast, with one fused forward and backward pass. Value and gradient
    are finite for scores up to ±1e4 and beyond, and exactly 0 for pictures without a labelled pixel. float16 scores get
    a float16 gradient, where the largest gradients overflow to infinity, as gradient scalers expect. The gradient
    cannot be differentiated again.

    Args:
        loss_weight (float): Factor λ of the whole loss, at least 0. Defaults to 1.0.
        class_weight (Sequence[float] | str | None): Weight of each class, or a file (.npy, .pkl, .json, .yaml) that
            holds them. Defaults to None, which weighs all classes alike.
        avg_non_ignore (bool): Whether the mean is taken over labelled pixels, over those of all processes if training
            is distributed. Otherwise it is taken over all pixels of this process. Defaults to True. With
            ``class_weight`` the mean is always the weighted one over labelled pixels, as in PyTorch and mmseg.
        reduction (str): 'none', 'mean' or 'sum'. Defaults to 'mean'.
        loss_name (str): Name in the log. Only terms whose name contains 'loss' are trained on. Defaults to
            'loss_pixel'.

    Raises:
        ValueError: If a value is out of its range; the message names the key.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | str | None = None,
        avg_non_ignore: bool = True,
        reduction: str = 'mean',
        loss_name: str = 'loss_pixel',
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.loss_weight = check_number(owner, 'loss_weight', loss_weight, at_least=0)
        self.avg_non_ignore = avg_non_ignore
        self.reduction = check_choice(owner, 'reduction', reduction, REDUCTIONS)
        self._loss_name = loss_name
        try:
            with plain_files():
                weights = get_class_weight(class_weight)
        except Exception as error:
            # readers of four formats raise nearly everything
            raise ValueError(f'{owner}: class_weight {class_weight!r} cannot be read: {error}') from error
        if weights is not None:
            if isinstance(weights, str | Mapping) or not np.iterable(weights):
                raise ValueError(f'{owner}: class_weight must be a list, a weight per class, but it is {weights!r}.')
            weights = torch.tensor([check_number(owner, 'class_weight', weight, at_least=0) for weight in weights])
        # Not persistent: it is a setting, and must not appear among a checkpoint's weights.
        self.register_buffer('class_weight', weights, persistent=False)

    @property
    def loss_name(self) -> str:
        """Name of the loss in the log."""
        return self._loss_name

    @abstractmethod
    def value_and_slope(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss, without ``loss_weight``, and its derivative.

        Args:
            log_odds (Tensor): Log-odds against the labelled class, ``log((1 - p_t) / p_t)``, any shape, float32 or
                float64. ``sigmoid(log_odds)`` is 1 - p_t and ``softplus(log_odds)`` is -log p_t, both to full
                precision.

        Returns:
            tuple[Tensor, Tensor]: The loss, and what training uses as its derivative with respect to ``log_odds``: two
            new tensors of the same shape.
        """

    def pixel_losses(
        self,
        cls_score: Tensor,
        label: Tensor,
        ignored: Tensor,
        factor: Tensor | None,
        rule: LossRule | None = None,
    ) -> Tensor:
        """Compute the loss at each pixel, without any weight.

        Args:
            cls_score (Tensor): Class scores, (N, C, ...).
            label (Tensor): Class of each pixel, (N, ...), int64 in [0, C - 1], at ignored pixels as well.
            ignored (Tensor): True where a pixel has no label, (N, ...), bool.
            factor (Tensor | None): What the losses are going to be multiplied by, (N, ...): weights of classes and
                pixels. Only losses that depend on several pixels look at it.
            rule (Callable | None): In the place of :meth:`value_and_slope`.

        Returns:
            Tensor: The losses, (N, ...), float32 or float64, 0 at ignored pixels.
        """
        num_samples, num_classes = cls_score.shape[:2]
        num_pixels = math.prod(cls_score.shape[2:])
        losses = pixel_losses(
            cls_score.reshape(num_samples, num_classes, num_pixels),
            label.reshape(num_samples, num_pixels),
            ignored.reshape(num_samples, num_pixels),
            rule or self.value_and_slope,
        )
        return losses.view(label.shape)

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """Compute the loss of class scores."""
        owner = type(self).__name__
        reduction = self.reduction
        if reduction_override is not None:
            reduction = check_choice(owner, 'reduction_override', reduction_override, REDUCTIONS)
        if avg_factor is not None and reduction == 'sum':
            raise ValueError(f"{owner}: avg_factor is the divisor of a mean; leave it out with reduction 'sum'.")
        cls_score = class_scores(cls_score)
        self._check_shapes(cls_score, label, weight)

        ignored = label == ignore_index
        label = label.long().masked_fill(ignored, 0)
        if label.device.type == 'cpu':  # On an accelerator looking would mean to wait; there the kernel asserts.
            self._check_classes(label, cls_score.shape[1], ignore_index)
        factors = [] if self.class_weight is None else [self.class_weight[label]]
        factors += [] if weight is None else [weight]
        factor = math.prod(factors) if factors else None
        losses = self.pixel_losses(cls_score, label, ignored, factor)
        if factor is not None:
            losses = losses * factor
        if reduction == 'none':
            return losses * self.loss_weight
        if reduction == 'sum':
            return losses.sum() * self.loss_weight
        if avg_factor is None:
            if self.avg_non_ignore or self.class_weight is not None:
                avg_factor = mean_divisor(label, ignored, self.class_weight, losses.dtype)
            else:
                avg_factor = label.numel()
        # The bound, mmseg's, only meets sums that are 0: no labelled pixel, or none with a weight.
        smallest = torch.finfo(torch.float32).eps
        divisor = avg_factor.clamp(min=smallest) if isinstance(avg_factor, Tensor) else max(avg_factor, smallest)
        return losses.sum() / divisor * self.loss_weight

    def extra_repr(self) -> str:
        """Describe the settings for the module's printed form."""
        return f'loss_weight={self.loss_weight:g}, reduction={self.reduction!r}, avg_non_ignore={self.avg_non_ignore}'

    def _check_shapes(self, cls_score: Tensor, label: Tensor, weight: Tensor | None) -> None:
        owner = type(self).__name__
        if cls_score.dim() < 2 or cls_score.shape[1] < 2:
            raise ValueError(
                f'{owner}: cls_score must be (N, num_classes, ...) with at least 2 classes, because the loss takes a '
                f'softmax over them, but its shape is {tuple(cls_score.shape)}.'
            )
        if label.shape != cls_score.shape[:1] + cls_score.shape[2:]:
            raise ValueError(
                f'{owner}: a label of shape {tuple(label.shape)} does not fit class scores of shape '
                f'{tuple(cls_score.shape)}; it must be {tuple(cls_score.shape[:1] + cls_score.shape[2:])}.'
            )
        if label.is_floating_point() or label.is_complex() or label.dtype == torch.bool:
            raise TypeError(f'{owner}: label must hold integers, but its type is {label.dtype}.')
        if weight is not None and weight.shape != label.shape:
            raise ValueError(
                f'{owner}: weight has the shape {tuple(weight.shape)}, but must have that of the label, '
                f'{tuple(label.shape)}.'
            )
        if self.class_weight is not None and len(self.class_weight) != cls_score.shape[1]:
            raise ValueError(
                f'{owner}: class_weight holds {len(self.class_weight)} weights, but cls_score has '
                f'{cls_score.shape[1]} classes.'
            )

    def _check_classes(self, label: Tensor, num_classes: int, ignore_index: int) -> None:
        if label.numel() == 0:
            return
        for extreme in torch.aminmax(label):
            if not 0 <= extreme < num_classes:
                raise ValueError(
                    f'{type(self).__name__}: label holds the class {int(extreme)}, but cls_score has the classes 0 to '
                    f'{num_classes - 1} and the ignored label is {ignore_index}. Check num_classes of the head and '
                    'the label map of the data set.'
                )
