"""Convolutions whose kernel is large beside the map, as fc6 of VGG."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GATHERS = torch.backends.cpu.get_cpu_capability() == 'AVX2'
"""Whether small maps are gathered: on CPUs with AVX2 and without AVX-512."""

LARGEST_MAP = 256
"""Pixels of a map up to which gathering is faster: about twice on 4x8, 1.3 times on 8x16, no more on 16x32."""


class LargeKernelConv2d(nn.Conv2d):
    """Convolution that keeps the size of its map, fast on small ones on CPUs without AVX-512 too.

    There oneDNN rearranges all weights in each pass, which costs more than the few pixels do, and has nothing but its
    reference loop for the gradient of 4096 x 512 x 7 x 7 weights. GPUs and CPUs with AVX-512 convolve as ever.

    Attributes:
        may_gather: Whether it may; exported networks convolve.
    """

    may_gather = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, in_channels, H, W)``."""
        # what is traced, as mmseg's get_flops does, says what is computed and not on which CPU
        may_gather = GATHERS and self.may_gather and not torch.jit.is_tracing()
        if may_gather and x.device.type == 'cpu' and x.shape[2] * x.shape[3] <= LARGEST_MAP:
            return convolve_gathered(x, self.weight, self.bias)
        return super().forward(x)


def convolve_gathered(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve as one matrix product, whose gradient is two: a row is what the kernel sees at one pixel."""
    size = weight.shape[2]
    seen = F.unfold(x, size, padding=size // 2).transpose(1, 2)
    convolved = F.linear(seen, weight.flatten(1), bias).transpose(1, 2)
    return convolved.reshape(len(x), -1, *x.shape[2:]).contiguous()
