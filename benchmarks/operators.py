"""The operator that takes most of a training step, for each network and method that a leaf trains.

    python -m benchmarks.operators [--size 256 128] [--leaves NAME ...]

One step per combination on random images, one per domain, at nine tenths of the run, under PyTorch's profiler. An
operator is one kind of call on tensors of one shape; its share is its own time of that of all. More than half means
that one kernel decides what the step costs: see LargeKernelConv2d for such a case and its cure.
"""

import argparse
import json
import logging
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import machine
from benchmarks.methods import Method, resized
from benchmarks.street_step import CONFIG
from cda_mmseg.engine.composition import read_config

ROOT = CONFIG.parent
LEAVES = tuple(
    str(path.relative_to(ROOT).with_suffix('')) for path in (*sorted(ROOT.glob('*.py')), ROOT / 'demo' / CONFIG.name)
)
"""The leaves at the top of ``configs``, and the paper's method on built-in streets, whose network is a small one."""


def combination(config: Config) -> str:
    """Say what makes the operators of a step: networks and adaptations, without data, schedules, the source's loss."""
    model = config.model
    heads = [{**head, 'loss_decode': None} for head in (model.decode_head, model.get('auxiliary_head')) if head]
    return json.dumps([model.backbone, model.get('neck'), heads, model.get('adaptations')])


def combinations(leaves: Sequence[str], size: tuple[int, int]) -> dict[str, Config]:
    """Read one leaf for each combination, by its name."""
    found: dict[str, tuple[str, Config]] = {}
    for leaf in leaves:
        config = resized(read_config(ROOT / f'{leaf}.py'), size)
        found.setdefault(combination(config), (leaf, config))
    return dict(found.values())


def largest_operator(step: Method) -> tuple[str, int, float, float]:
    """Profile a step after one to warm up: its largest operator, how often it ran, its share, and seconds of all."""
    step.step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        step.step()
    events = profiled.key_averages(group_by_input_shape=True)
    total = sum(event.self_cpu_time_total for event in events)
    first = max(events, key=lambda event: event.self_cpu_time_total)
    shapes = ', '.join('×'.join(map(str, shape)) for shape in first.input_shapes if shape and isinstance(shape[0], int))
    return f'`{first.key}` {shapes}', first.count, first.self_cpu_time_total / total, total / 1e6


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description='The largest operator of a step of each network and method.')
    parser.add_argument('--leaves', nargs='+', default=LEAVES, metavar='NAME', help='below configs, without suffix')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 128), metavar=('WIDTH', 'HEIGHT'))
    options = parser.parse_args()
    MMLogger.get_instance('mmengine').setLevel(logging.ERROR)
    print('| leaf | step | largest operator, its tensors | calls | share |\n|---|---:|---|---:|---:|')
    for leaf, config in combinations(options.leaves, tuple(options.size)).items():
        name, calls, share, seconds = largest_operator(Method(config))
        more = ' **more than half**' if share > 0.5 else ''
        print(f'| `{leaf}` | {1e3 * seconds:.0f} ms | {name} | {calls} | {100 * share:.0f} %{more} |', flush=True)
    print(f'\nMeasured on {machine("cpu", torch.get_num_threads())}.')


if __name__ == '__main__':
    main()
