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
    scores = seg_logits[:, ::stride, ::stride].float()
    if scores.shape[0] == 1:
        foreground = scores[0]
        entropy = torch.special.entr(foreground) + torch.special.entr(1 - foreground)
        return float(entropy.mean()) / math.log(2)
    log_probabilities = scores.log_softmax(dim=0)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=0)
    return float(entropy.mean()) / math.log(scores.shape[0])
