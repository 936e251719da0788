"""Train smoke configs in a real Runner, and compare what they leave."""

import json
import os
from pathlib import Path

import torch
from mmengine.runner import Runner

from cda_mmseg.engine.composition import read_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def train(work_dir, name: str = 'cl_gta2city', workers: int = 0, **changes) -> Runner:
    """Train a smoke config for six iterations, with a checkpoint after each."""
    config = read_config(CONFIGS / 'smoke' / f'{name}.py')
    options = {
        'work_dir': str(work_dir),
        'experiment_name': f'{work_dir}{len(changes)}'.replace(os.sep, '_'),
        'train_cfg.max_iters': 6,
        'train_cfg.val_interval': 3,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.max_keep_ckpts': -1,
        'default_hooks.logger.interval': 1,
    }
    for loader in ('train', 'target', 'val', 'test'):
        options[f'{loader}_dataloader.num_workers'] = workers
        options[f'{loader}_dataloader.persistent_workers'] = workers > 0
    config.merge_from_dict({**options, **changes})
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def logged(work_dir) -> dict[int, dict]:
    steps = {}
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            steps.setdefault(record['step'], {}).update(
                {key: value for key, value in record.items() if 'time' not in key and key not in ('memory', 'step')}
            )
    return steps


def state_of(work_dir, iteration: int) -> dict:
    return torch.load(Path(work_dir) / f'iter_{iteration}.pth', weights_only=False)


def differing(one: object, other: object, path: str = '') -> list[str]:
    """List the places where two checkpoints differ, bit for bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        return [place for key in keys for place in differing(one.get(key), other.get(key), f'{path}.{key}')]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            place
            for pair in enumerate(zip(one, other, strict=True))
            for place in differing(*pair[1], f'{path}.{pair[0]}')
        ]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [path]
