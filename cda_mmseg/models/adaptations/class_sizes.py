"""Limits on the sizes of classes in the target's predictions (FCNs in the Wild)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor
from torch.utils.data import Dataset

from cda_mmseg.datasets.class_counts import count_classes
from cda_mmseg.models.adaptations.adaptation import Adaptation, Encoded, Level, Log
from cda_mmseg.models.adaptations.class_maps import ClassMaps
from cda_mmseg.models.losses.checks import check_number

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors.step import Step
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor


@MODELS.register_module()
class ClassSizes(Adaptation):
    """Move the sizes of the classes in each target picture into the limits that the source's labels give.

    The category-specific adaptation of `FCNs in the Wild <https://arxiv.org/abs/1612.02649>`_, section 3.2. Over the
    source's labels that have a class c at all, its shares of the pixels have a lower 10 % limit α, a mean δ and an
    upper 10 % limit γ. A target picture has the class if the prediction gives it more than ``presence * α`` of the
    pixels; then its mean probability shall lie in [δ, γ]. The distributions q that satisfy this and are closest to the
    prediction p (smallest KL(q ‖ p)) become targets of cross entropy, whose gradient is p - q. A class that is not
    present has no limits: what is predicted little is never asked for, so that large classes may swallow small ones.

    The multipliers of the constraints are found by a fixed number of iterations of generalised iterative scaling
    (Darroch and Ratcliff 1972), each of which raises the dual objective; those of the lower limits are at most
    ``slack``. Published without code; ``slack``, ``big_class_factor`` and the use of every fourth pixel follow an
    unofficial implementation, whose absent classes are forced to 0, while here they are not constrained. The shares are
    those of labelled pixels, and the loss is a mean over the cells of the score map.

    The limits are those of the *source*: where the domains differ in the sizes of classes, they are wrong.

    Args:
        weight (float): Weight of the loss, greater than 0.
        iterations (int): Iterations for the multipliers.
        slack (float): Largest multiplier of a lower limit.
        presence (float): Share of α from which a class counts as present.
        big_class_factor (float): Factor of the gradient of classes with α > .1.
        stride (int): Every how many-th row and column of the score map takes part.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If a number is out of its range.
    """

    BIG = 0.1
    terms_of = ('target',)

    def __init__(
        self,
        weight: float = 0.1,
        iterations: int = 20,
        slack: float = 2.0,
        presence: float = 0.1,
        big_class_factor: float = 0.1,
        stride: int = 2,
        begin: float = 0.0,
        end: float = 1.0,
    ) -> None:
        super().__init__(begin, end)
        owner = 'ClassSizes'
        self.weight = check_number(owner, 'weight', weight, above=0)
        self.scaling_iterations = int(check_number(owner, 'iterations', iterations, at_least=1))
        self.slack = check_number(owner, 'slack', slack, at_least=0)
        self.presence = check_number(owner, 'presence', presence, at_least=0)
        self.big_class_factor = check_number(owner, 'big_class_factor', big_class_factor, at_least=0)
        self.stride = int(check_number(owner, 'stride', stride, at_least=1))

    @property
    def reads(self) -> dict[str, Level]:
        """dict[str, str]: The target's class scores."""
        return {'target': 'scores'}

    def connect(self, segmentor: UDASegmentor) -> None:
        """Find the head; the limits wait for the data."""
        self._class_maps = ClassMaps('ClassSizes', 'decode', segmentor)
        # Not persistent: they are the data's, not learnt, and study() finds them again in a resumed run.
        self._studied = False
        self.register_buffer('limits', torch.full((3, self._class_maps.classes), torch.nan), persistent=False)

    def study(self, datasets: Mapping[str, Dataset]) -> None:
        """Count the classes of the source's labels, once; the counts are kept on the disk."""
        limits = size_limits(count_classes(datasets['source']))
        self.limits.copy_(torch.from_numpy(limits))
        self._studied = True

    def encoder_losses(self, encoded: Encoded, step: Step) -> Log:
        """Move the target's predictions into the limits."""
        if not self._studied:
            raise RuntimeError('ClassSizes has not seen the source yet: call study() before the first step.')
        lower, mean, upper = self.limits
        scores = self._class_maps.scores(encoded, 'target')[:, :, :: self.stride, :: self.stride]
        factor = torch.where(lower > self.BIG, self.big_class_factor, 1.0)[:, None, None].to(scores)
        # The value stays, the gradient of a class's score gets its factor.
        log_shares = torch.lerp(scores.detach(), scores, factor.expand_as(scores)).log_softmax(1).flatten(2)
        with torch.no_grad():
            present = predicted_shares(scores) > self.presence * lower  # never a class without limits, NaN
            targets, violation = constrained(
                log_shares,
                torch.where(present, mean, 0.0),
                torch.where(present, upper, torch.inf),
                self.slack,
                self.scaling_iterations,
            )
        loss = -(targets * log_shares).sum(1).mean()
        return {'target.loss_class_sizes': self.weight * loss, 'target.size_violation': violation}


def predicted_shares(scores: Tensor) -> Tensor:
    """Compute each class's share (N, C) of the pixels whose highest score (N, C, H, W) it has."""
    predicted = scores.argmax(1).flatten(1)
    counts = scores.new_zeros(scores.shape[:2])
    counts.scatter_add_(1, predicted, torch.ones_like(predicted, dtype=counts.dtype))
    return counts / predicted.shape[1]


def size_limits(counts: np.ndarray) -> np.ndarray:
    """Compute the limits of the classes' shares, each over the labels that have the class.

    Args:
        counts (np.ndarray): Pixels of each class in each label, (labels, C).

    Returns:
        np.ndarray: Lower 10 % limit, mean and upper 10 % limit, (3, C); NaN for classes in no label. Of a class that
            few labels have much of, the mean is above the upper limit, which then stands for both.
    """
    limits = np.full((3, counts.shape[1]), np.nan)
    pixels = counts.sum(1)
    for number, of_class in enumerate(counts.T):
        shares = of_class[of_class > 0] / pixels[of_class > 0]
        if len(shares):
            lowest, highest = np.quantile(shares, (0.1, 0.9))
            limits[:, number] = lowest, min(shares.mean(), highest), highest
    return limits


def constrained(
    log_shares: Tensor, lower: Tensor, upper: Tensor, slack: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Find the distributions closest to given ones whose means lie in limits.

    ``q_ic ∝ p_ic exp(l_c)``. In one iteration every multiplier l_c moves to the maximum of its share of a lower bound
    of the dual objective: by log(limit / mean of q) towards the limit that it violates, or back to 0.

    Args:
        log_shares (Tensor): Log-probabilities (N, C, P) of P pixels.
        lower (Tensor): Lower limits of the means (N, C); 0 for none.
        upper (Tensor): Upper limits (N, C), none smaller than the lower one; infinity for none.
        slack (float): Largest l.
        iterations (int): How many.

    Returns:
        tuple[Tensor, Tensor]: Distributions (N, C, P), and by how much their means leave the limits, summed over the
        classes, as a mean over N: what is left of it is due to the slack or to too few iterations.
    """
    multipliers = torch.zeros_like(lower)
    for _ in range(iterations):
        means = (log_shares + multipliers[..., None]).softmax(1).mean(2).clamp(min=torch.finfo(lower.dtype).tiny)
        at_least, at_most = multipliers + (lower / means).log(), multipliers + (upper / means).log()
        multipliers = torch.zeros_like(multipliers).clamp(min=at_least).clamp(max=at_most).clamp(max=slack)
    targets = (log_shares + multipliers[..., None]).softmax(1)
    means = targets.mean(2)
    outside = (lower - means).clamp(min=0) + (means - upper).clamp(min=0)
    return targets, outside.sum(1).mean()
