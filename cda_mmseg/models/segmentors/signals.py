"""What a training step tells of itself beside its losses: what is predicted on each domain, and how surely."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cda_mmseg.models.adaptations.adaptation import Log

INTERVAL = 25
"""Iterations from one measurement to the next."""

QUANTILES = (0.05, 0.5, 0.95)
_MOST_PIXELS = 2**16


def source_signals(
    scores: Tensor, labels: Tensor, head: nn.Module, classes: Sequence[str], most: int = _MOST_PIXELS
) -> Log:
    """Measure what is predicted on the source, at the resolution of the scores and with evenly spaced pixels of many.

    Args:
        scores: Class scores (N, C, h, w), C >= 2.
        labels: Labels (N, H, W), int64.
        head: The head that gave them; the first base a of its losses decides above which p_t pixels are counted.
        classes: Names of the C classes.
        most: Pixels from which on some are passed over.

    Returns:
        Quantiles of the labelled class's probability p_t, the share of pixels with p_t > 1/a, and the shares of the
        classes in the predictions and in the labels; nothing of ignored pixels but what is predicted there.
    """
    probabilities = _probabilities(scores, most)
    labels = F.interpolate(labels[:, None].float(), probabilities.shape[2:], mode='nearest-exact')[:, 0].long()
    valid = labels != head.ignore_index
    p_t = probabilities.gather(1, labels.where(valid, 0)[:, None])[:, 0]
    quantiles = torch.nanquantile(p_t.where(valid, math.nan).flatten(), p_t.new_tensor(QUANTILES))
    log = {f'source.p_t.q{round(100 * q):02}': value for q, value in zip(QUANTILES, quantiles, strict=True)}
    log['source.p_t.above'] = ((p_t > 1 / loss_base(head)) & valid).sum() / valid.sum().clamp(min=1)
    log |= _shares('source.share', probabilities.argmax(1), classes)
    return log | _shares('source.label_share', labels, classes)


def target_signals(scores: Tensor, classes: Sequence[str], most: int = _MOST_PIXELS) -> Log:
    """Measure the shares of the classes predicted on the target, and the mean of the largest probabilities."""
    confidence, predicted = _probabilities(scores, most).max(1)
    return {'target.confidence': confidence.mean(), **_shares('target.share', predicted, classes)}


def gradient_ratio(adaptation: Log, segmentation: Log, features: Sequence[Tensor]) -> Tensor:
    """Divide the norm of the adaptations' gradient at the embedding by that of the segmentation loss."""
    norms = []
    for losses in (adaptation, segmentation):
        total = sum(value for name, value in losses.items() if 'loss' in name)
        gradients = torch.autograd.grad(total, features, retain_graph=True, allow_unused=True)
        norms.append(sum(one.float().square().sum() for one in gradients if one is not None) ** 0.5)
    return norms[0] / norms[1]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and only those of its parts back that were not."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _probabilities(scores: Tensor, most: int) -> Tensor:
    every = max(1, math.isqrt(scores[:, 0].numel() // most))
    return scores[:, :, ::every, ::every].float().softmax(1)


def _shares(name: str, ids: Tensor, classes: Sequence[str]) -> Log:
    """Compute class shares without waiting for the device, as bincount does; what is no class does not count."""
    counts = (ids.flatten()[:, None] == torch.arange(len(classes), device=ids.device)).sum(0)
    shares = counts / counts.sum().clamp(min=1)
    return {f'{name}.{label}': share for label, share in zip(classes, shares, strict=True)}


def loss_base(head: nn.Module) -> float:
    """Find the a of 1/a: that of the Conservative Loss, also while a warm start is still on; else e."""
    losses = head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
    return next((loss.base for loss in (getattr(one, 'main', one) for one in losses) if hasattr(loss, 'base')), math.e)
