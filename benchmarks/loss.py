"""Time and memory of the losses against PyTorch's cross entropy.

    OMP_NUM_THREADS=2 python benchmarks/loss.py [--repeats 25] [--size 512 1024] [--device cpu]

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
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from cda_mmseg.models.losses import (
    ConservativeLoss,
    CubicLoss,
    PiecewiseCubicLoss,
    SoftmaxCrossEntropyLoss,
    SoftmaxFocalLoss,
)

NUM_CLASSES = 19
IGNORE_INDEX = 255
BUSY_LOAD = 0.5

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


def medians(first: Callable[[], None], second: Callable[[], None], repeats: int, device: str) -> tuple[float, float]:
    """Median seconds of two functions that run in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(-2, repeats):
        for function, results in zip((first, second), times, strict=True):
            if device != 'cpu':
                torch.accelerator.synchronize()
            start = time.perf_counter()
            function()
            if device != 'cpu':
                torch.accelerator.synchronize()
            if repeat >= 0:
                results.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def peak_memory(function: Callable[[], None], device: str) -> int:
    """Largest number of bytes allocated at a time by a function, beyond those allocated before."""
    function()
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == '[memory]']
    peak = current = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak


def rows(repeats: int = 25, size: tuple[int, int] = (512, 1024), device: str = 'cpu') -> list[dict]:
    """Measure everything.

    Returns:
        list[dict]: Rows with ``name``, ``against``, ``ratio``, ``must`` and ``aim`` (bounds of the ratio, None where
        none was set), and ``ours`` and ``theirs``, the measured figures with their unit.
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
            measured = tuple(1e3 * seconds for seconds in medians(ours, theirs, repeats, device))
            unit = 'ms'
        table.append(
            {
                'name': f'{name}: {"peak extra memory" if of_memory else "forward + backward"}',
                'against': 'F.cross_entropy',
                'ratio': measured[0] / measured[1],
                'must': must,
                'aim': aim,
                'ours': f'{measured[0]:.1f} {unit}',
                'theirs': f'{measured[1]:.1f} {unit}',
            }
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description='Time and memory of the losses against cross entropy.')
    parser.add_argument('--repeats', type=int, default=25, help='times each side is run')
    parser.add_argument('--size', type=int, nargs=2, default=(512, 1024), metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2, help='threads of a CPU')
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        parser.exit(1, f'The machine is busy (load {load:.2f} > {BUSY_LOAD}): no table. Try again later.\n')
    torch.set_num_threads(options.threads)

    def bound(value: float | None) -> str:
        return '' if value is None else f'≤ {value:g}×'

    print('| what | against | ratio | must | aim | ours | theirs |\n|---|---|---|---|---|---|---|')
    for row in rows(options.repeats, tuple(options.size), options.device):
        print(
            f'| {row["name"]} | {row["against"]} | {row["ratio"]:.2f}× | {bound(row["must"])} | {bound(row["aim"])} '
            f'| {row["ours"]} | {row["theirs"]} |'
        )
    print(
        f'\n{options.device}, {options.threads} threads, {platform.machine()}, torch {torch.__version__}, '
        f'{options.repeats} repeats in turns, medians; load {load:.2f} at the start.'
    )


if __name__ == '__main__':
    main()
