"""Memory of a training step of any config, all of whose adaptations have begun.

    python -m benchmarks.memory [--device cpu] [--size 1024 512] [--batch-size 1] [--configs CONFIG ...]

Resident: weights, optimizer state and buffers, which are there between steps. Peak: the most that a step allocates on
top, gradients included. On a CPU PyTorch's profiler counts every allocation of its allocator; what oneDNN or cuDNN take
beside it, the interpreter and the data workers come on top. The figures do not depend on what else the machine does.
"""

import argparse
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper

from benchmarks.measuring import machine, peak_memory
from benchmarks.street_step import CONFIG, build_model, random_batch
from cda_mmseg.engine.composition import read_config
from cda_mmseg.utils.progress import TrainingProgress

CONFIGS = (
    'source_only_gta2city.py',
    'cl_gta2city.py',
    'cl_gta2city_deeplabv2_r101.py',
    'cl_gta2city_segformer_b0.py',
)
GIB = 2**30
MMLogger.get_instance('memory', log_level='ERROR')


def measure(path: Path, size: tuple[int, int], batch_size: int, memory: str, device: str) -> tuple[float, float]:
    """Measure one config.

    Args:
        path (Path): The config.
        size (tuple[int, int]): Width and height of the images.
        batch_size (int): Images per domain.
        memory (str): ``model.execution.memory``.
        device (str): 'cpu' or a GPU.

    Returns:
        tuple[float, float]: Resident and peak GiB.
    """
    config = read_config(path)
    config.model.backbone.init_cfg = None
    config.model.data_preprocessor.size = (size[1], size[0])
    config.model.execution = dict(config.model.get('execution') or {}, memory=memory)
    model = build_model(config, device)
    optimizers = build_optim_wrapper(model, config.optim_wrapper)
    batch = random_batch(config, batch_size, device)
    if hasattr(model, 'adaptations') and 'feature_distance' in model.adaptations:
        model.adaptations['feature_distance'].study({})

    def step() -> None:
        model.set_progress(TrainingProgress(99, 100, 0, 0))
        model.train_step(batch, optimizers)

    peak = peak_memory(step, device)
    tensors = [*model.parameters(), *model.buffers()]
    for wrapper in optimizers.values():
        states = wrapper.optimizer.state.values()
        tensors += [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / GIB, peak / GIB


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description='Memory of a training step for each shipped network.')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--size', type=int, nargs=2, default=(1024, 512), metavar=('WIDTH', 'HEIGHT'))
    parser.add_argument('--batch-size', type=int, default=1, help='images per domain')
    parser.add_argument('--configs', nargs='+', default=CONFIGS, help='files of configs/')
    options = parser.parse_args()
    size = tuple(options.size)
    print(f"| config, {size[0]}×{size[1]} | resident | peak | together | peak, memory='low' | together |")
    print('|---|---:|---:|---:|---:|---:|')
    for name in options.configs:
        resident, peak = measure(CONFIG.parent / name, size, options.batch_size, 'default', options.device)
        low = measure(CONFIG.parent / name, size, options.batch_size, 'low', options.device)[1]
        figures = ' | '.join(f'{figure:.2f} GiB' for figure in (resident, peak, resident + peak, low, resident + low))
        print(f'| `{name}` | {figures} |', flush=True)
    where = machine(options.device, torch.get_num_threads())
    print(f'\nMeasured on {where}; batch {options.batch_size} per domain, float32.')


if __name__ == '__main__':
    main()
