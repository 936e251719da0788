"""fc6 of VGG, 512 channels and a kernel of 7x7, both ways: gathered into a matrix product, and PyTorch's own.

    python -m benchmarks --only large-kernel [--threads 2]

ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 in the environment shows on a CPU with AVX-512 how it is without.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measuring import medians_in_turns
from benchmarks.rows import Row
from cda_mmseg.models.backbones.large_kernel_conv import convolve_gathered

WIDTHS = (128, 1024, 4096)
MAPS = ((3, 4), (4, 8), (8, 16), (16, 32))


def passes(
    convolve: Callable[[Tensor, Tensor, Tensor], Tensor], width: int, size: tuple[int, int], device: str
) -> dict[str, Callable[[], object]]:
    """Forward pass, and forward and backward pass, of one image."""
    x = torch.randn(1, 512, *size, device=device, requires_grad=True)
    weight, bias = torch.randn(width, 512, 7, 7, device=device), torch.randn(width, device=device)
    parameters = x, weight.requires_grad_(), bias.requires_grad_()
    return {
        'forward': lambda: convolve(*parameters),
        'forward + backward': lambda: torch.autograd.grad(convolve(*parameters).sum(), parameters),
    }


def rows(
    device: str = 'cpu', repeats: int = 3, widths: Sequence[int] = WIDTHS, maps: Sequence[tuple[int, int]] = MAPS
) -> list[Row]:
    """Measure every width on every map."""
    table = []
    for width in widths:
        for size in maps:
            ours = passes(convolve_gathered, width, size, device)
            theirs = passes(lambda *tensors: F.conv2d(*tensors, padding=3), width, size, device)
            for name in ours:
                seconds = medians_in_turns({'ours': ours[name], 'theirs': theirs[name]}, repeats, device, warm_up=1)
                table.append(
                    Row(
                        name=f'fc6 gathered, 512 → {width} on {size[0]}×{size[1]}: {name}',
                        against='F.conv2d',
                        ratio=seconds['ours'] / seconds['theirs'],
                        must=None,
                        aim=None,
                        ours=f'{1e3 * seconds["ours"]:.1f} ms',
                        theirs=f'{1e3 * seconds["theirs"]:.1f} ms',
                    )
                )
    return table
