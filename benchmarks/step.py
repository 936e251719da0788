"""Time and memory of a training step: against the naive step, against the floor, and how both grow.

    python -m benchmarks.step [--repeats 5] [--device cpu] [--threads 2] [--part naive|floor|switches|growth ...]

The modules are those of configs/cl_gta2city.py; only the width of fc6 and fc7 and the size of the pictures change. The
naive step (benchmarks/naive_step.py) uses the same modules and PyTorch's stock Adam. *As shipped* is the config itself:
both domains in one batch, fused Adam; *same optimizer* is the same with stock Adam. The floor (``floor_step`` in
benchmarks/street_step.py) is what no order of the updates can avoid. All sides run in one process, in turns; medians
are compared. Memory is the peak above weights and optimizer state, gradients included.
"""

import argparse
import gc
from collections.abc import Callable

import torch

from benchmarks.measuring import busy, machine, medians_in_turns, peak_memory
from benchmarks.rows import format_table
from benchmarks.street_step import floor_step, naive_step, our_step, street_config

MODELS = [(1024, (256, 128)), (1024, (512, 256)), (4096, (256, 128)), (4096, (512, 256))]
PARTS = ('naive', 'floor', 'switches', 'growth')
MIB = 2**20


def row(
    name: str,
    against: str,
    figures: tuple[float, float],
    unit: str,
    must: float | None = None,
    aim: float | None = None,
) -> dict:
    """Make a row: our figure and theirs, in seconds or bytes."""
    factor = 1e3 if unit == 'ms' else 1 / MIB
    ours, theirs = (f'{figure * factor:.0f} {unit}' for figure in figures)
    ratio = figures[0] / figures[1]
    return dict(name=name, against=against, ratio=ratio, must=must, aim=aim, ours=ours, theirs=theirs)


def title(fc_channels: int, size: tuple[int, int]) -> str:
    """Name a model and a size."""
    return f'fc {fc_channels}, {size[0]}×{size[1]}'


def naive_rows(fc_channels: int, size: tuple[int, int], repeats: int, device: str) -> list[dict]:
    """Compare with the naive step: time and memory."""
    config = street_config(fc_channels, size)
    steps = {
        'naive': naive_step(config, device=device),
        'domains apart, same optimizer': our_step(config, dict(batch_domains=False), fused=False, device=device),
        'same optimizer': our_step(config, {}, fused=False, device=device),
        'as shipped': our_step(config, {}, fused=True, device=device),
        "memory='low'": our_step(config, dict(memory='low'), fused=True, device=device),
    }
    seconds = medians_in_turns(steps, repeats, device, warm_up=1)
    peaks = {name: peak_memory(step, device) for name, step in steps.items()}
    apart = {'domains apart, same optimizer': (None, None)}
    of_time = apart | {'same optimizer': (0.6, None), 'as shipped': (None, 0.5), "memory='low'": (None, None)}
    of_memory = apart | {'same optimizer': (None, None), 'as shipped': (0.95, None), "memory='low'": (0.8, 0.7)}
    what = title(fc_channels, size)
    return [
        row(f'step, {what}, {name}', 'naive step', (seconds[name], seconds['naive']), 'ms', *bounds)
        for name, bounds in of_time.items()
    ] + [
        row(f'step, {what}, {name}: peak memory', 'naive step', (peaks[name], peaks['naive']), 'MiB', *bounds)
        for name, bounds in of_memory.items()
    ]


def floor_rows(fc_channels: int, size: tuple[int, int], repeats: int, device: str) -> list[dict]:
    """Compare with the passes that nothing can avoid, each way with its own floor."""
    config = street_config(fc_channels, size)
    rows = []
    for batch_domains, name, bounds in ((True, 'as shipped', (1.15, 1.05)), (False, 'domains apart', (None, None))):
        steps = {
            'ours': our_step(config, dict(batch_domains=batch_domains), fused=True, device=device),
            'floor': floor_step(config, batch_domains, device=device),
        }
        seconds = medians_in_turns(steps, repeats, device, warm_up=1)
        against = 'floor, domains batched' if batch_domains else 'floor, domains apart'
        figures = (seconds['ours'], seconds['floor'])
        rows.append(row(f'step above its floor, {title(fc_channels, size)}, {name}', against, figures, 'ms', *bounds))
    return rows


def switch_rows(fc_channels: int, size: tuple[int, int], repeats: int, device: str) -> list[dict]:
    """Compare each switch with the step as shipped."""
    config = street_config(fc_channels, size)
    switches: dict[str, Callable[[], None]] = {
        'as shipped': our_step(config, {}, fused=True, device=device),
        'batch_domains=False': our_step(config, dict(batch_domains=False), fused=True, device=device),
        'fused=False': our_step(config, {}, fused=False, device=device),
        'channels_last=True': our_step(config, dict(channels_last=True), fused=True, device=device),
        'compile=True': our_step(config, dict(compile=True), fused=True, device=device),
        '--amp bfloat16': our_step(config, {}, fused=True, device=device, mixed_precision='bfloat16'),
    }
    seconds = medians_in_turns(switches, repeats, device, warm_up=2)
    against = 'step as shipped'
    return [
        row(f'step, {title(fc_channels, size)}, {name}', against, (seconds[name], seconds['as shipped']), 'ms')
        for name in switches
        if name != 'as shipped'
    ]


def growth_rows(repeats: int, device: str, fc_channels: int = 1024) -> list[dict]:
    """Compare larger pictures and batches with as many times the smallest."""
    sizes = {1: ((256, 128), 1), 4: ((512, 256), 1), 16: ((1024, 512), 1)}
    cases = {f'{size[0]}×{size[1]}': (size, batch, factor) for factor, (size, batch) in sizes.items()}
    cases['batch 4'] = ((256, 128), 4, 4)
    steps, factors = {}, {}
    for name, (size, batch_size, factor) in cases.items():
        steps[name] = our_step(street_config(fc_channels, size), {}, True, batch_size, device)
        factors[name] = factor
    seconds = medians_in_turns(steps, repeats, device, warm_up=1)
    peaks = {name: peak_memory(step, device) for name, step in steps.items()}
    rows = []
    for figures, unit, what in ((seconds, 'ms', 'step'), (peaks, 'MiB', 'peak memory of the step')):
        for name, factor in list(factors.items())[1:]:
            against = f'{factor} times that of 256×128'
            pair = (figures[name], factor * figures['256×128'])
            rows.append(row(f'{what}, fc {fc_channels}, {name}', against, pair, unit, 1.15))
    return rows


def rows(repeats: int = 5, device: str = 'cpu', parts: tuple[str, ...] = PARTS) -> list[dict]:
    """Measure.

    Args:
        repeats (int): Rounds of each comparison; the slowest ones get three.
        device (str): 'cpu' or a GPU.
        parts (tuple[str, ...]): Which comparisons.

    Returns:
        list[dict]: Rows with ``name``, ``against``, ``ratio``, ``must`` and ``aim`` (bounds of the ratio, None where
        none was set), and ``ours`` and ``theirs``, the measured figures with their unit.
    """
    table: list[dict] = []
    for part, function in (('naive', naive_rows), ('floor', floor_rows)):
        for fc_channels, size in MODELS if part in parts else []:
            is_large = fc_channels * size[0] > 1024 * 512
            table += function(fc_channels, size, min(repeats, 3) if is_large else repeats, device)
            gc.collect()
    if 'switches' in parts:
        for fc_channels, size in MODELS[1:3]:
            table += switch_rows(fc_channels, size, repeats, device)
            gc.collect()
    if 'growth' in parts:
        table += growth_rows(min(repeats, 3), device)
    return table


def main() -> None:
    """Print the rows as a Markdown table."""
    parser = argparse.ArgumentParser(description='Time and memory of a training step.')
    parser.add_argument('--repeats', type=int, default=5, help='rounds of each comparison')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2, help='threads of a CPU')
    parser.add_argument('--part', nargs='+', choices=PARTS, default=list(PARTS), help='which comparisons')
    options = parser.parse_args()
    if reason := busy():
        parser.exit(1, f'{reason}\n')
    torch.set_num_threads(options.threads)
    print(format_table(rows(options.repeats, options.device, tuple(options.part))))
    print(f'\n{machine(options.device, options.threads)}; {options.repeats} rounds in turns, medians.')


if __name__ == '__main__':
    main()
