"""Gather from checkpoints what a picture panel shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample

from cda_mmseg.datasets.both_domains import select_role
from cda_mmseg.datasets.transforms.tag_domain import role_of
from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.engine.composition import read_config
from cda_mmseg.models.adaptations import find_adversary
from cda_mmseg.visualization.panel import PanelRow


@dataclass(frozen=True)
class TrainedModel:
    """Name a trained model.

    Attributes:
        name (str): Its title in figures.
        config (str | Path | Config): Its config.
        checkpoint (str | Path): Its checkpoint.
    """

    name: str
    config: str | Path | Config
    checkpoint: str | Path


def gather_panel(
    models: Sequence[TrainedModel], rows_per_domain: Mapping[str, int], device: str = 'cpu'
) -> tuple[list[PanelRow], dict[str, Any]]:
    """Predict and reconstruct some validation images with several trained models.

    The images are spread evenly over the validation data of the last model's config, and pass its test pipeline. The
    reconstructions are the last model's, if it has a generator.

    Args:
        models (Sequence[TrainedModel]): Models trained for the same classes, such as source-only and adapted.
        rows_per_domain (Mapping[str, int]): Number of images per domain, in the order of the rows, such as
            ``dict(target=3, source=1)``.
        device (str): Device to predict on.

    Returns:
        tuple[list[PanelRow], dict[str, Any]]: The rows, and the meta information of the data set with ``classes`` and
        ``palette``.

    Raises:
        ValueError: If there are no models, two of one name, or no validation images of a domain.
    """
    if not models:
        raise ValueError('a panel needs at least one model')
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ValueError(f'a panel shows each model under a name of its own, got {", ".join(names)}')
    config = models[-1].config if isinstance(models[-1].config, Config) else read_config(models[-1].config)
    init_default_scope(config.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(config.val_dataloader.dataset)
    items = [item for domain, count in rows_per_domain.items() for item in _spread(dataset, domain, count)]
    predictions: list[dict[str, np.ndarray]] = [{} for _ in items]
    reconstructions: list[np.ndarray | None] = []
    for model in models:
        own = model.config if isinstance(model.config, Config) else read_config(model.config)
        # the last one shows what its generator makes, if it has one
        loaded = init_trained_model(own, str(model.checkpoint), device, whole=model is models[-1])
        for item, named in zip(items, predictions, strict=True):
            with torch.no_grad():
                sample = loaded.test_step(pseudo_collate([item]))[0]
            named[model.name] = sample.pred_sem_seg.data[0].cpu().numpy()
        if model is models[-1]:
            reconstructions = [_reconstruct(loaded, item) for item in items]
    rows = [
        PanelRow(
            domain=item['data_samples'].domain,
            image=mmcv.imread(item['data_samples'].img_path, channel_order='rgb'),
            ground_truth=_ground_truth(item['data_samples']),
            predictions=named,
            reconstruction=reconstruction,
        )
        for item, named, reconstruction in zip(items, predictions, reconstructions, strict=True)
    ]
    return rows, dataset.metainfo


def _spread(dataset: Any, domain: str, count: int) -> list[dict]:
    """Pick samples of one domain, spread evenly over its data set."""
    part = select_role(dataset, domain)
    picked = np.linspace(0, len(part), num=min(count, len(part)), endpoint=False, dtype=int)
    return [part[int(index)] for index in picked]


def _ground_truth(sample: SegDataSample) -> np.ndarray | None:
    """Read the labels of a sample, if it has any."""
    return sample.gt_sem_seg.data[0].numpy() if 'gt_sem_seg' in sample else None


def _reconstruct(model: BaseSegmentor, item: dict) -> np.ndarray | None:
    """Rebuild an image, RGB uint8 (h, w, 3) at the size of the network's input; None without a generator."""
    adversary = find_adversary(model)
    if adversary is None:
        return None
    batch = model.data_preprocessor(pseudo_collate([item]), training=False)
    sample = batch['data_samples'][0]
    with torch.no_grad():
        inputs = batch['inputs']
        features, size = model.encoder.embed(inputs), tuple(inputs.shape[2:])
        picture = adversary.reconstruct(features, role_of(sample.domain), size)[0]
    height, width = sample.img_shape[:2]
    picture = ((picture[:, :height, :width].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    # mmcv loads BGR, so the network works in RGB where its preprocessor converts, in BGR otherwise.
    if not model.cfg.model.data_preprocessor.get('bgr_to_rgb', False):
        picture = picture.flip(0)
    return picture.permute(1, 2, 0).cpu().numpy()
