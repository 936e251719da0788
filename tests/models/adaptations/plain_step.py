"""What the tests of all methods share: a config, and the training of our step and of a plain one on the same data."""

import torch
from mmengine.optim import build_optim_wrapper

from benchmarks.naive_methods import PlainStep
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.segmentors.tiny_model import MEAN, SEED, STD, make_data, model_config

ITERATIONS = 4
CLASSES = 5
AUXILIARY = dict(
    type='FCNHead',
    in_channels=32,
    in_index=1,
    channels=8,
    num_convs=1,
    num_classes=CLASSES,
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=0.1),
)
PLAYER = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))


def config(two_heads: bool = False, **adaptations) -> dict:
    network = ('data_preprocessor', 'backbone', 'decode_head')
    base = {key: value for key, value in model_config().items() if key in network}
    auxiliary = dict(auxiliary_head=AUXILIARY) if two_heads else {}
    return dict(type='UDASegmentor', **base, **auxiliary, adaptations=adaptations)


def train(model, names=(), iterations=ITERATIONS, first=0, length=ITERATIONS) -> list[dict]:
    """Train our model with Adam; ``names`` are the players beside E."""
    optimizers = build_optim_wrapper(
        model, dict(constructor='PlayerOptimWrapperConstructor', **dict.fromkeys(('encoder', *names), PLAYER))
    )
    logs = []
    for iteration in range(first, first + iterations):
        model.set_progress(TrainingProgress(iteration, length, SEED, 0))
        logs.append(model.train_step(make_data(iteration), optimizers))
    return logs


def train_plainly(plain: PlainStep, iterations: int = ITERATIONS, batch_size: int = 1) -> None:
    """Train a plain step's model on the same data."""
    dtype = next(plain.model.parameters()).dtype
    mean, std = (torch.tensor(values, dtype=dtype).view(3, 1, 1) for values in (MEAN, STD))
    for iteration in range(iterations):
        data = make_data(iteration, batch_size)
        images = {
            domain: torch.stack([(image[[2, 1, 0]].to(mean) - mean) / std for image in batch['inputs']])
            for domain, batch in data.items()
        }
        plain(iteration, images, torch.cat([one.gt_sem_seg.data for one in data['source']['data_samples']]))
