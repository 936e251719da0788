"""One fused autograd function for every loss that depends on the labelled class's softmax probability alone.

Such a loss is a function of one number per pixel, the log-odds against the labelled class t,

    x = log((1 - p_t) / p_t) = logsumexp(z_j, j != t) - z_t,

and its gradient with respect to the class scores z is

    dl/dz_t = -l'(x),        dl/dz_j = l'(x) * softmax(z over j != t)_j.

Neither cancels digits at p_t near 1, where log_softmax does, nor needs a bound at p_t = 0 or 1. Only the scores are
kept for the backward pass, which writes the gradient into the one large buffer that this function allocates.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

# Score elements worked on at a time on a CPU: 8 MiB in float32 stay in the cache from the first pass to the last.
# An accelerator gets everything at once, since it hides memory latency and pays for launches.
_CPU_CHUNK = 2**21

LossRule = Callable[[Tensor], tuple[Tensor, Tensor]]


def pixel_losses(scores: Tensor, label: Tensor, ignored: Tensor, rule: LossRule) -> Tensor:
    """Compute a loss of the labelled class's probability at every pixel.

    Args:
        scores (Tensor): Class scores before the softmax, (N, C, P), C >= 2, floating point. float16 and bfloat16 are
            computed in float32.
        label (Tensor): Class of each pixel, (N, P), int64 in [0, C - 1], at ignored pixels as well.
        ignored (Tensor): True where a pixel has no label, (N, P), bool.
        rule (Callable): Takes the log-odds against the labelled class, (N, 1, P), and returns the loss and its
            derivative with respect to the log-odds, both new tensors of that shape. Sees 0 at ignored pixels.

    Returns:
        Tensor: Loss of each pixel, (N, P), float32 or float64, exactly 0 at ignored pixels. It can be differentiated
        once with respect to ``scores``; a second time raises RuntimeError.
    """
    return _PixelLosses.apply(scores, label, ignored, rule)


def _chunks(scores: Tensor) -> Iterator[slice]:
    num_samples, num_classes, num_pixels = scores.shape
    length = max(1, num_pixels)
    if scores.device.type == 'cpu':
        length = min(length, max(1, _CPU_CHUNK // max(1, num_samples * num_classes)))
    for start in range(0, num_pixels, length):
        yield slice(start, min(start + length, num_pixels))


class _PixelLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, label: Tensor, ignored: Tensor, rule: LossRule) -> Tensor:
        label, ignored = label.unsqueeze(1), ignored.unsqueeze(1)
        num_samples, num_classes, num_pixels = scores.shape
        dtype = torch.promote_types(scores.dtype, torch.float32)
        # The other classes' largest score, and the sum of their exponentials relative to it (between 1 and C - 1).
        highest = scores.new_empty((num_samples, 1, num_pixels), dtype=dtype)
        others = torch.empty_like(highest)
        buffer = None
        for chunk in _chunks(scores):
            length = chunk.stop - chunk.start
            if buffer is None:
                buffer = scores.new_empty((num_samples, num_classes, length), dtype=dtype)
            part = buffer[:, :, :length].copy_(scores[:, :, chunk]).scatter_(1, label[:, :, chunk], -math.inf)
            torch.amax(part, 1, keepdim=True, out=highest[:, :, chunk])
            torch.sum(part.sub_(highest[:, :, chunk]).exp_(), 1, keepdim=True, out=others[:, :, chunk])
        del buffer
        log_odds = (highest - scores.gather(1, label)).add_(others.log()).masked_fill_(ignored, 0)
        value, slope = rule(log_odds)
        ctx.save_for_backward(scores, label, highest, others, slope.masked_fill_(ignored, 0))
        return value.masked_fill_(ignored, 0).squeeze(1)

    @staticmethod
    def backward(ctx: FunctionCtx, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        grad = _scores_gradient(*ctx.saved_tensors, grad_output)
        if torch.is_grad_enabled():  # create_graph=True
            grad = _OnceDifferentiable.apply(grad, ctx.saved_tensors[0])
        return grad, None, None, None


@torch.no_grad()
def _scores_gradient(
    scores: Tensor, label: Tensor, highest: Tensor, others: Tensor, slope: Tensor, grad_output: Tensor
) -> Tensor:
    slope = slope * grad_output.unsqueeze(1)
    share = slope / others
    slope.neg_()
    grad = torch.empty_like(scores)
    for chunk in _chunks(scores):
        # float16 and bfloat16 gradients are computed in float32 first.
        out = grad[:, :, chunk] if grad.dtype == slope.dtype else None
        part = torch.sub(scores[:, :, chunk], highest[:, :, chunk], out=out).exp_().mul_(share[:, :, chunk])
        # At the labelled class the exponential may have overflowed; it is overwritten here.
        part.scatter_(1, label[:, :, chunk], slope[:, :, chunk])
        if out is None:
            grad[:, :, chunk] = part
    return grad


class _OnceDifferentiable(torch.autograd.Function):
    """Refuses a second derivative; torch's once_differentiable lets one with a constant factor pass as zero."""

    @staticmethod
    def forward(ctx: FunctionCtx, grad: Tensor, scores: Tensor) -> Tensor:
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: FunctionCtx, grad_output: Tensor) -> tuple[None, None]:
        raise RuntimeError('The losses of cda_mmseg that use a fused gradient cannot be differentiated a second time.')
