"""The divisor of a mean over labelled pixels, the same mean for any number of processes."""

import torch
from mmengine.dist import all_reduce
from torch import Tensor


def mean_divisor(label: Tensor, ignored: Tensor, class_weight: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Count the labelled pixels, or sum up their class weights, on average over the processes.

    DistributedDataParallel averages gradients over the processes. Where every process divides its sum of pixel losses
    by this *average* count, that average is the gradient of the mean over the labelled pixels of all processes, however
    unevenly ignored pixels are spread. There is no host synchronisation. Every process of the default group must call
    this equally often.

    Args:
        label (Tensor): Class of each pixel, any shape, int64; any valid class at ignored pixels.
        ignored (Tensor): True where a pixel has no label, the label's shape, bool.
        class_weight (Tensor | None): Weight of each class, (C,); None counts every labelled pixel as 1.
        dtype (torch.dtype): Floating-point type of the result.

    Returns:
        Tensor: The divisor, a scalar, 0 if no process has a labelled pixel.
    """
    valid = ~ignored
    divisor = valid.sum().to(dtype) if class_weight is None else (class_weight[label] * valid).sum(dtype=dtype)
    all_reduce(divisor, 'mean')
    return divisor
