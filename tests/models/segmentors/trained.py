"""Train the tiny segmentor, as it is and naively, and compare what comes out."""

import torch
from mmengine.optim import build_optim_wrapper
from torch.nn import functional as F

from benchmarks.naive_step import NaiveStep
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.segmentors.tiny_model import (
    MEAN,
    SEED,
    STD,
    WEIGHTS,
    make_data,
    optimizer_config,
)


def train_ours(model, kind: str, iterations: int, batch_size: int = 1, accumulation: int = 1) -> list[dict]:
    optimizers = build_optim_wrapper(model, optimizer_config(kind, accumulation))
    optimizers.initialize_count_status(model, 0, iterations)
    logs = []
    for iteration in range(iterations):
        model.set_progress(TrainingProgress(iteration, iterations, SEED, 0))
        logs.append(model.train_step(make_data(iteration, batch_size), optimizers))
    return logs


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels, ignore_index=255, reduction='none').sum() / (labels != 255).sum().item()


def train_naively(
    model, kind: str, iterations: int, batch_size: int = 1, accumulation: int = 1, segmentation_loss=cross_entropy
) -> None:
    players = {
        'encoder': [*model.backbone.parameters(), *model.decode_head.parameters()],
        'generator': list(model.generator.parameters()),
        'discriminator': list(model.discriminator.parameters()),
    }
    make = {
        'SGD': lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        'Adam': lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    }[kind]
    dtype = next(model.parameters()).dtype
    mean, std = (torch.tensor(values, dtype=dtype).view(3, 1, 1) for values in (MEAN, STD))

    step = NaiveStep(
        model,
        {name: make(parameters) for name, parameters in players.items()},
        segmentation_loss,
        mean,
        std,
        WEIGHTS['encoder_adversarial_weight'],
        WEIGHTS['generator_adversarial_weight'],
        WEIGHTS['reconstruction_weight'],
        SEED,
        accumulation,
    )
    for iteration in range(iterations):
        data = make_data(iteration, batch_size)
        images = {
            domain: torch.stack([(image[[2, 1, 0]].to(dtype) - mean) / std for image in batch['inputs']])
            for domain, batch in data.items()
        }
        labels = torch.cat([sample.gt_sem_seg.data for sample in data['source']['data_samples']])
        step(iteration, images, labels)


def differences(one, other) -> dict[str, float]:
    theirs = dict(other.named_parameters())
    return {
        name: (value - theirs[name]).abs().max().item()
        for name, value in one.named_parameters()
        if not torch.equal(value, theirs[name])
    }


def part(name: str) -> str:
    """Name the part of the model that a weight belongs to."""
    return name.removeprefix('adaptations.image_adversary.').split('.')[0]


FOREIGN = {
    'resnet-aspp-aux': dict(
        backbone=dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, norm_eval=True),
        decode_head=dict(
            type='ASPPHead', in_channels=64, in_index=3, channels=8, dilations=(1, 2), num_classes=5,
            norm_cfg=dict(type='BN'),
        ),
        auxiliary_head=dict(type='FCNHead', in_channels=32, in_index=2, channels=8, num_convs=1, num_classes=5),
        generator=dict(type='ImageGenerator', in_channels=[16, 32, 64], in_index=[1, 2, 3], base_channels=4),
    ),
    'segformer': dict(
        backbone=dict(
            type='MixVisionTransformer', embed_dims=8, num_heads=[1, 2, 2, 2], num_layers=[1, 1, 1, 1],
            drop_path_rate=0.3,
        ),
        decode_head=dict(
            type='SegformerHead', in_channels=[8, 16, 16, 16], in_index=[0, 1, 2, 3], channels=8, dropout_ratio=0.1,
            num_classes=5, norm_cfg=dict(type='BN'),
        ),
    ),
    'swin-uper': dict(
        backbone=dict(type='SwinTransformer', embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), window_size=4),
        decode_head=dict(
            type='UPerHead', in_channels=[8, 16, 32, 64], in_index=[0, 1, 2, 3], channels=8, num_classes=5,
            norm_cfg=dict(type='BN'),
        ),
    ),
    'concatenated-maps': dict(
        decode_head=dict(
            type='FCNHead', in_channels=[16, 32, 16], in_index=[0, 1, 2], input_transform='resize_concat', channels=8,
            num_classes=5,
        ),
    ),
    'own-loss-head': dict(
        decode_head=dict(type='DAHead', in_channels=16, in_index=2, channels=8, pam_channels=4, num_classes=5),
        generator=dict(type='ImageGenerator', in_channels=[16, 32, 16], in_index=[0, 1, 2], base_channels=4),
    ),
}  # fmt: skip
