"""Time and memory of the losses against PyTorch's cross entropy.

    python -m benchmarks.loss [--repeats 25] [--size 512 1024] [--device cpu] [--threads 2]

Both sides run in one process, in turns, and medians are compared. The peak memory is the largest sum of the bytes that
PyTorch's allocator handed out and did not get back, over what was there before the forward pass.

The floor, in bytes moved through tensors of the scores' size (19 x 512 x 1024 float32: 38 MiB), with S one such tensor:
cross entropy reads and writes S for log_softmax, fills S with the gradient of the gather, and reads 2 S and writes S
for the backward pass of log_softmax: 6 S, three of them in fresh memory, and two exponentials per score. A fused
closed form needs to read S in the forward pass and to read and write S in the backward pass: 3 S, one of them fresh,
and two exponentials per score (one, if it keeps a second S). Fresh memory is what costs on a CPU: the first touch of
38 MiB takes about as long as eight passes over it.
"""

import argparse
import os
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measuring import busy, machine, medians_in_turns, peak_memory
from benchmarks.rows import Row, format_table
from cda_mmseg.models.losses import (
    ConservativeLoss,
    CubicLoss,
    PiecewiseCubicLoss,
    SoftmaxCrossEntropyLoss,
    SoftmaxFocalLoss,
)

NUM_CLASSES = 19
IGNORE_INDEX = 255

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(scores: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(scores, label, ignore_index=IGNORE_INDEX)


def plain_conservative(scores: Tensor, label: Tensor) -> Tensor:
    """Eq. 3 at a = e, λ = 5 from log_softmax with autograd's gradient: what one would write down first."""
    valid = label != IGNORE_INDEX
    log_probability = F.log_softmax(scores, 1).gather(1, label.where(valid, 0).unsqueeze(1)).squeeze(1)
    surprise = (-log_probability).clamp(min=1e-7)
    return 5 * ((1 - surprise).square() * surprise.log() * valid).sum() / valid.sum()


def scores_and_label(size: tuple[int, int], device: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(1, NUM_CLASSES, *size, generator=generator) * 3
    label = torch.randint(0, NUM_CLASSES, (1, *size), generator=generator)
    label[:, : size[0] // 12] = IGNORE_INDEX
    return scores.to(device), label.to(device)


def step(loss: Loss, scores: Tensor, label: Tensor) -> Callable[[], None]:
    """Forward and backward pass from class scores."""
    scores = scores.clone().requires_grad_()

    def run() -> None:
        loss(scores, label).backward()
        scores.grad = None

    return run


def step_with_upsampling(loss: Loss, scores: Tensor, label: Tensor) -> Callable[[], None]:
    """The same from scores of an eighth of the size, as a segmentation head does it; the large scores are temporary."""
    small = F.avg_pool2d(scores, 8).requires_grad_()

    def run() -> None:
        loss(F.interpolate(small, label.shape[1:], mode='bilinear'), label).backward()
        small.grad = None

    return run


def rows(device: str = 'cpu', repeats: int = 25, size: tuple[int, int] = (512, 1024)) -> list[Row]:
    """Measure everything.

    Args:
        device (str): 'cpu' or a GPU.
        repeats (int): Times each side is run.
        size (tuple[int, int]): Height and width of the scores.

    Returns:
        list[Row]: Time and memory of each loss.
    """
    scores, label = scores_and_label(size, device)
    conservative = ConservativeLoss().to(device)
    shape = f'1×{NUM_CLASSES}×{size[0]}×{size[1]}'
    cases: list[tuple[str, Loss, Callable, bool, float | None, float | None]] = [
        (f'ConservativeLoss, {shape}', conservative, step, False, 1.25, 1.05),
        (f'ConservativeLoss, {shape}', conservative, step, True, 1.25, 1.0),
        ('ConservativeLoss with upsampling', conservative, step_with_upsampling, False, None, None),
        ('ConservativeLoss with upsampling', conservative, step_with_upsampling, True, None, None),
        ('ConservativeLoss, clamp 10', ConservativeLoss(clamp=10).to(device), step, False, None, None),
        ('ConservativeLoss, weighted', ConservativeLoss(gradient='weighted').to(device), step, False, None, None),
        ('SoftmaxCrossEntropyLoss', SoftmaxCrossEntropyLoss().to(device), step, False, None, None),
        ('SoftmaxFocalLoss', SoftmaxFocalLoss().to(device), step, False, None, None),
        ('CubicLoss', CubicLoss().to(device), step, False, None, None),
        ('PiecewiseCubicLoss', PiecewiseCubicLoss().to(device), step, False, None, None),
        ('Eq. 3 with plain autograd', plain_conservative, step, False, None, None),
        ('Eq. 3 with plain autograd', plain_conservative, step, True, None, None),
    ]
    table = []
    for name, loss, make_step, of_memory, must, aim in cases:
        ours, theirs = make_step(loss, scores, label), make_step(cross_entropy, scores, label)
        if of_memory:
            measured = (peak_memory(ours, device) / 2**20, peak_memory(theirs, device) / 2**20)
            unit = 'MiB'
        else:
            seconds = medians_in_turns({'ours': ours, 'theirs': theirs}, repeats, device)
            measured = (1e3 * seconds['ours'], 1e3 * seconds['theirs'])
            unit = 'ms'
        table.append(
            Row(
                name=f'{name}: {"peak extra memory" if of_memory else "forward + backward"}',
                against='F.cross_entropy',
                ratio=measured[0] / measured[1],
                must=must,
                aim=aim,
                ours=f'{measured[0]:.1f} {unit}',
                theirs=f'{measured[1]:.1f} {unit}',
            )
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description='Time and memory of the losses against cross entropy.')
    parser.add_argument('--repeats', type=int, default=25, help='times each side is run')
    parser.add_argument('--size', type=int, nargs=2, default=(512, 1024), metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2, help='threads of a CPU')
    options = parser.parse_args()
    reason = busy()
    if reason:
        parser.exit(1, f'{reason}\n')
    load = os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    print(format_table(rows(options.device, options.repeats, tuple(options.size))))
    print(
        f'\n{machine(options.device, options.threads)}; {options.repeats} repeats in turns, medians; '
        f'load {load:.2f} at the start.'
    )


if __name__ == '__main__':
    main()
