"""Losses of the target's predictions alone: the network is to be sure of what it says.

From a weak start both make the majority class of every pixel surer still: begin from a network that was trained on
the source, and watch ``target/share_distance``.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from mmseg.registry import MODELS
from torch import Tensor

from cda_mmseg.models.adaptations.adaptation import Adaptation, Encoded, Level, Log
from cda_mmseg.models.adaptations.class_maps import SMALLEST, ClassMaps
from cda_mmseg.models.losses.checks import check_number

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors.step import Step
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor


class TargetLoss(Adaptation):
    """Add a loss of the target's class probabilities at the size of the picture.

    Args:
        weight (float): Weight of the loss, greater than 0.
        head (str): 'decode', or the name of an auxiliary head in the log: 'aux', 'aux_0', ...; one instance per head.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If ``weight`` is not a finite number greater than 0, or the model has no such head.
    """

    term: str
    """Name of the loss in the log."""

    terms_of = ('target',)

    def __init__(self, weight: float, head: str = 'decode', begin: float = 0.0, end: float = 1.0) -> None:
        super().__init__(begin, end)
        self.weight = check_number(type(self).__name__, 'weight', weight, above=0)
        self.head = head

    @property
    def reads(self) -> dict[str, Level]:
        """dict[str, str]: The target's class scores."""
        return {'target': 'scores'}

    def connect(self, segmentor: UDASegmentor) -> None:
        """Find the head."""
        self._class_maps = ClassMaps(type(self).__name__, self.head, segmentor)

    @abstractmethod
    def loss(self, probabilities: Tensor) -> Tensor:
        """Compute the loss, without its weight, of class probabilities (N, C, H, W)."""

    def encoder_losses(self, encoded: Encoded, step: Step) -> Log:
        """Compute the loss of the target's predictions."""
        probabilities = self._class_maps.probabilities(encoded, 'target', step.images['target'].shape[2:])
        return {f'target.loss_{self.term}_{self.head}': self.weight * self.loss(probabilities)}


@MODELS.register_module()
class MinEnt(TargetLoss):
    """Minimise the entropy of the target's predictions, as a mean over pixels in [0, 1].

    `ADVENT: Adversarial Entropy Minimization for Domain Adaptation in Semantic Segmentation
    <https://arxiv.org/abs/1811.12833>`_, section 3.1, in the released code's normalisation: ``log2(p + 1e-30)``,
    divided by ``log2(C)`` and the number of pixels. Published weights: .001 for the decode head, .0002 for the
    auxiliary one. The paper's prior on the shares of the classes is not in the released code and not here.
    """

    term = 'entropy'

    def loss(self, probabilities: Tensor) -> Tensor:
        """Compute the mean entropy of class probabilities (N, C, H, W)."""
        pixels, classes = probabilities[:, 0].numel(), probabilities.shape[1]
        return -(probabilities * torch.log2(probabilities + SMALLEST)).sum() / (pixels * math.log2(classes))


@MODELS.register_module()
class MaxSquare(TargetLoss):
    """Maximise the squares of the target's class probabilities.

    `Domain Adaptation for Semantic Segmentation with Maximum Squares Loss <https://arxiv.org/abs/1909.13589>`_, in the
    paper's normalisation. Without image-wise weights it is, per image of N pixels, ``-1 / (2 N) sum_n sum_c p_nc^2``.
    With them it is ``-sum_n w_n sum_c p_nc^2`` with ``w_n = 1 / (N_c^a N^(1 - a))``, N_c the number of pixels that this
    image's prediction gives the class of pixel n; as in the released code it has no 1/2, and no gradient goes through
    the weights.

    The released code also divides both by the number of classes: its ``lambda_target`` is ``weight * C`` here, so that
    the README's .1 is .1 / 19 for Cityscapes. Its second loss for the auxiliary head, cross entropy on confident labels
    of both heads' mean, is not here. A pixel's gradient does not grow as the pixel gets sure, as that of the entropy
    does.

    Args:
        weight (float): Weight of the loss, greater than 0.
        ratio (float | None): The exponent a, in [0, 1]; published .2. None for no image-wise weights.
        head (str): 'decode', or the name of an auxiliary head in the log.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If a value is out of its range, or the model has no such head.
    """

    term = 'max_square'

    def __init__(
        self, weight: float, ratio: float | None = 0.2, head: str = 'decode', begin: float = 0.0, end: float = 1.0
    ) -> None:
        super().__init__(weight, head, begin, end)
        self.ratio = None if ratio is None else check_number('MaxSquare', 'ratio', ratio, at_least=0, at_most=1)

    def loss(self, probabilities: Tensor) -> Tensor:
        """Compute the loss of class probabilities (N, C, H, W); at least -1."""
        images, classes = probabilities.shape[:2]
        squares = probabilities.square().sum(1)
        if self.ratio is None:
            return -0.5 * squares.mean()
        predicted = probabilities.argmax(1).flatten(1)
        counts = probabilities.new_zeros(images, classes)
        counts.scatter_add_(1, predicted, torch.ones_like(predicted, dtype=counts.dtype))
        pixels = predicted.shape[1]
        weights = 1 / (counts.gather(1, predicted) ** self.ratio * pixels ** (1 - self.ratio))
        return -(squares.flatten(1) * weights).sum() / images
