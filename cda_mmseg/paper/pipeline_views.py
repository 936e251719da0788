"""Gather what passes between the players of a built model (for Fig. 2 of the paper)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.apis import init_model
from mmseg.registry import DATASETS
from torch import Tensor, nn

from cda_mmseg.datasets.both_domains import select_role
from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.models.adaptations import ImageAdversary, find_adversary
from cda_mmseg.models.players import DOMAINS, Domain
from cda_mmseg.visualization.class_colors import color_classes

LOSS_NAMES = {
    'ConservativeLoss': 'Conservative Loss',
    'CrossEntropyLoss': 'cross entropy',
    'SoftmaxCrossEntropyLoss': 'cross entropy',
    'SoftmaxFocalLoss': 'focal loss',
    'CubicLoss': 'cubic loss',
    'PiecewiseCubicLoss': 'cubic loss',
}


@dataclass(frozen=True)
class DomainViews:
    """What one image becomes on its way through the players.

    Attributes:
        image (np.ndarray): The network's input as a picture, RGB, uint8, (H, W, 3).
        prediction (np.ndarray): Classes in the palette's colours, RGB, uint8, (H, W, 3).
        labels (np.ndarray | None): Ground truth likewise; None for the target, whose labels nobody reads.
        reconstruction (np.ndarray): The generator's picture, RGB, uint8, (H, W, 3).
        judgement (np.ndarray): Probability of 'real' that the own domain's discriminator gives each patch of the
            reconstruction, (h, w).
    """

    image: np.ndarray
    prediction: np.ndarray
    labels: np.ndarray | None
    reconstruction: np.ndarray
    judgement: np.ndarray


@dataclass(frozen=True)
class PipelineViews:
    """A model and one image of each domain on its way through it.

    Attributes:
        domains (dict[str, DomainViews]): Domain → its image's views.
        networks (dict[str, str]): Player → its networks.
        parameters (dict[str, int]): Player → number of weights.
        embedding (list[tuple[int, int, int]]): Channels, height and width of the maps that the generator reads.
        loss (str): Segmentation loss that the run ends with.
    """

    domains: dict[Domain, DomainViews]
    networks: dict[str, str]
    parameters: dict[str, int]
    embedding: list[tuple[int, int, int]]
    loss: str


@torch.no_grad()
def gather_pipeline(config: Config, checkpoint: str | Path | None = None, device: str = 'cpu') -> PipelineViews:
    """Send one validation image of each domain through a model.

    Args:
        config (Config): Config of a model with a GAN.
        checkpoint (str | Path | None): Its weights; by default it is as it was built.
        device (str): Device to compute on.

    Returns:
        PipelineViews: The views.

    Raises:
        TypeError: If the model has no generator.
        ValueError: If the validation data lacks a domain.
    """
    init_default_scope(config.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(config.val_dataloader.dataset)
    # A copy, because init_model edits the config that it is given.
    model = (
        init_model(config.copy(), None, device)
        if checkpoint is None
        else init_trained_model(config, str(checkpoint), device, whole=True)
    )
    adversary = find_adversary(model)
    if adversary is None:
        raise TypeError(f'{type(model).__name__} has no generator; give the config of a model with a GAN.')
    views, embedding = {}, []
    for domain in DOMAINS:
        item = select_role(dataset, domain)[0]
        inputs = model.data_preprocessor(pseudo_collate([item]), training=False)['inputs']
        features = model.encoder.embed(inputs)
        embedding = [tuple(features[index].shape[1:]) for index in _maps_of(adversary)]
        fake = adversary.reconstruct(features, domain, tuple(inputs.shape[2:]))
        logits = adversary.discriminator([domain], [fake])[0]
        palette = dataset.metainfo['palette']
        prediction = model.encode_decode(inputs, [item['data_samples'].metainfo]).argmax(dim=1)[0].cpu().numpy()
        views[domain] = DomainViews(
            image=_to_rgb(item['inputs'].float() / 127.5 - 1, channel_order='bgr'),
            prediction=color_classes(prediction, palette),
            labels=_labels(item, prediction.shape, palette) if domain == 'source' else None,
            reconstruction=_to_rgb(fake[0], 'rgb' if config.model.data_preprocessor.get('bgr_to_rgb') else 'bgr'),
            judgement=logits[0, 0].sigmoid().cpu().numpy(),
        )
    return PipelineViews(
        domains=views,
        networks={
            'encoder': f'{type(model.backbone).__name__}, {type(model.decode_head).__name__}',
            'generator': _describe(adversary.generator.networks),
            'discriminator': _describe(adversary.discriminator.networks),
        },
        parameters={
            name: sum(parameter.numel() for parameter in model.player(name).parameters())
            for name in ('encoder', 'generator', 'discriminator')
        },
        embedding=embedding,
        loss=_name_loss(config),
    )


def _maps_of(adversary: ImageAdversary) -> list[int]:
    """Say which of the encoder's maps the generator reads."""
    return list(next(iter(adversary.generator.networks.values())).in_index)


def _describe(networks: nn.ModuleDict) -> str:
    """Name the networks of a player: shared by both domains, or one for each."""
    name = type(next(iter(networks.values()))).__name__
    return name if len(networks) == 1 else f'{len(networks)} × {name}'


def _name_loss(config: Config) -> str:
    """Name the segmentation loss that the run ends with."""
    loss = config.model.decode_head.loss_decode
    name = loss.main.type if loss.type == 'WarmStartLoss' else loss.type
    return LOSS_NAMES.get(name, name)


def _to_rgb(picture: Tensor, channel_order: str) -> np.ndarray:
    """Turn a picture (3, H, W) in [-1, 1] into RGB, uint8, (H, W, 3)."""
    picture = ((picture.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    if channel_order == 'bgr':
        picture = picture.flip(0)
    return picture.permute(1, 2, 0).cpu().numpy()


def _labels(item: dict, size: tuple[int, int], palette: list) -> np.ndarray:
    """Colour the ground truth at the size of the prediction."""
    label = item['data_samples'].gt_sem_seg.data[None].float()
    label = nn.functional.interpolate(label, size=size, mode='nearest-exact')[0, 0].long().numpy()
    return color_classes(label, palette)
