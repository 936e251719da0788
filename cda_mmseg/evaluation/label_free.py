"""Scores of a network on a target without labels, from the class probabilities of sampled pixels."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def entropy(probabilities: Tensor) -> float:
    """Compute the mean entropy of pixels (M, C), in [0, 1]; low is sure, and lowest where one class is left."""
    return float(_entropy(probabilities).mean())


def information(probabilities: Tensor) -> float:
    """Compute the entropy of the mean of pixels (M, C) less the mean of their entropies, in [0, 1].

    Information maximisation: high for predictions that are sure and spread over the classes. It takes the target for
    one in which all classes are equally frequent.
    """
    return float(_entropy(probabilities.mean(0, keepdim=True))) - entropy(probabilities)


def neighbourhood_density(probabilities: Tensor, temperature: float = 0.05, most: int = 2048) -> float:
    """Compute the soft neighbourhood density of pixels (M, C) (Saito et al., ICCV 2021): high is dense.

    The mean entropy, in nats, of each pixel's softmax over its cosine similarities to all others. The number of pixels
    bounds it, so evenly spaced ones are taken where there are more than ``most``. Highest where all pixels are alike.
    """
    chosen = torch.linspace(0, len(probabilities) - 1, min(most, len(probabilities))).round().long()
    rows = F.normalize(probabilities[chosen], dim=1)
    similarity = (rows @ rows.T / temperature).fill_diagonal_(-math.inf)
    return float(torch.special.entr(similarity.softmax(1)).sum(1).mean())


def agreement(predicted: Tensor, agreed: Tensor, classes: int) -> float:
    """Compute the mean IoU, in [0, 1], of class ids (M,) with an ensemble's, over the classes that either has."""
    counts = torch.bincount(agreed.long() * classes + predicted.long(), minlength=classes**2).view(classes, classes)
    common, union = counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal()
    return float((common[union > 0] / union[union > 0]).mean())


def class_shares(predicted: Tensor, classes: int) -> Tensor:
    """Compute the share of each class among class ids (M,): (C,), float32."""
    return torch.bincount(predicted.long().flatten(), minlength=classes) / max(1, predicted.numel())


def share_drift(one: Tensor, other: Tensor) -> float:
    """Compute the total-variation distance, in [0, 1], of two domains' class shares (C,)."""
    return float((one - other).abs().sum()) / 2


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(1) / math.log(probabilities.shape[1])
