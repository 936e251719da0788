"""Say how undecided a segmentor is, without looking at labels."""

import math

import torch
from torch import Tensor


def mean_normalized_entropy(seg_logits: Tensor, stride: int = 4) -> float:
    r"""Compute the mean entropy of the class probabilities, divided by that of the uniform distribution.

    Args:
        seg_logits (Tensor): Class scores of one image, shape (num_classes, H, W). A single channel is taken for the
            foreground probability that mmseg's binary heads store, in [0, 1].
        stride (int): Only every ``stride``-th row and column is read. mmseg interpolates the scores to the size of
            the image, so its neighbours hardly differ; a stride of 4 costs a sixteenth.

    Returns:
        float: Mean of :math:`-\sum_c p_c \ln p_c / \ln C` in [0, 1]; 0 is certain, 1 is undecided.
    """
    probabilities = class_probabilities(seg_logits[:, ::stride, ::stride].float())
    entropy = torch.special.entr(probabilities).sum(dim=0)
    return float(entropy.mean()) / math.log(len(probabilities))


def class_probabilities(scores: Tensor) -> Tensor:
    """Turn an image's class scores (num_classes, ...) into probabilities.

    A binary head's single channel is the probability of class 1; it becomes two.
    """
    return torch.cat([1 - scores, scores]) if scores.shape[0] == 1 else scores.softmax(dim=0)
