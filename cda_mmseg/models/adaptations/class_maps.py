"""Class probabilities of a picture's pixels, as adaptations read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from mmseg.models.utils import resize
from torch import Tensor

if TYPE_CHECKING:
    from cda_mmseg.models.adaptations.adaptation import Encoded
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor

SMALLEST = 1e-30
"""What ADVENT adds to a probability before it takes the logarithm."""


class ClassMaps:
    """Read one head's output as class probabilities at the size of the picture.

    Args:
        owner (str): Class of the adaptation that reads, for errors.
        head (str): 'decode', or 'aux', 'aux_0', ... as mmseg's log names them.
        segmentor (UDASegmentor): The segmentor.

    Attributes:
        classes: Number of classes.

    Raises:
        ValueError: If the segmentor has no such head, or the head has no softmax over classes.
    """

    def __init__(self, owner: str, head: str, segmentor: UDASegmentor) -> None:
        heads = segmentor.encoder.heads
        if head not in heads:
            raise ValueError(f'{owner}: head={head!r} is none of the heads of the model, {list(heads)}.')
        self.classes = heads[head].out_channels
        if self.classes < 2:
            raise ValueError(
                f'{owner}: the {head} head has {self.classes} output, and the probabilities of one class are all 1. '
                'Set out_channels=2 with num_classes=2.'
            )
        self._owner, self._head = owner, head
        self._index = list(heads).index(head)
        self._align_corners = heads[head].align_corners

    def scores(self, encoded: Encoded, name: str) -> Tensor:
        """Return a batch's class scores (N, C, h, w) as the head gives them, float32 or wider.

        Raises:
            TypeError: If the head has several outputs.
        """
        scores = encoded.scores[name][self._index]
        if not isinstance(scores, Tensor):
            raise TypeError(f'{self._owner}: the {self._head} head gives {len(scores)} outputs; it must give one.')
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def probabilities(self, encoded: Encoded, name: str, size: tuple[int, int]) -> Tensor:
        """Return a batch's class probabilities (N, C, *size): the softmax of the upsampled scores."""
        scores = self.scores(encoded, name)
        return resize(scores, size=size, mode='bilinear', align_corners=self._align_corners, warning=False).softmax(1)


def self_information(probabilities: Tensor) -> Tensor:
    """Compute ADVENT's weighted self-information maps, ``-p log2(p + 1e-30) / log2(C)``.

    `ADVENT: Adversarial Entropy Minimization for Domain Adaptation in Semantic Segmentation
    <https://arxiv.org/abs/1811.12833>`_, section 3.2. The sum over the classes is the entropy of a pixel, in [0, 1].

    Args:
        probabilities (Tensor): Class probabilities (N, C, H, W).

    Returns:
        Tensor: The maps (N, C, H, W), each value at most ``.531 / log2(C)``.
    """
    classes = probabilities.shape[1]
    return -probabilities * torch.log2(probabilities + SMALLEST) / math.log2(classes)
