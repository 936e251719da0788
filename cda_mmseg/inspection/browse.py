"""Samples of a config's data as the network sees them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from torch.utils.data import Dataset

from cda_mmseg.datasets.pipelines import check_stock_loaders, domains_of, single_data_sets
from cda_mmseg.engine.data_checks import build_training_set
from cda_mmseg.engine.orders.shares_order import build_order
from cda_mmseg.engine.sampling import PositionedDataset
from cda_mmseg.utils.randomness import stable_hash
from cda_mmseg.visualization.class_colors import color_classes
from cda_mmseg.visualization.contact_sheet import contact_sheet


def browse(config: Config, folder: Path, number: int) -> list[Path]:
    """Write a contact sheet per domain: the first samples of the run, and some of validation.

    Each sample went through its pipeline and ``model.data_preprocessor``, padding included, and back to colours. Labels
    stand beside, where they are read.

    Args:
        config (Config): A composed config of this package.
        folder (Path): Where to write.
        number (int): Samples per domain.

    Returns:
        list[Path]: The sheets.
    """
    init_default_scope('mmseg')
    settings = config.model.data_preprocessor
    preprocessor = MODELS.build(settings)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, dataset, is_training in _domains(config):
        rows, present = [], set()
        step = 1 if is_training else max(1, len(dataset) // number)
        for index in range(0, min(number * step, len(dataset)), step):
            batch = preprocessor(pseudo_collate([dataset[index]]), training=is_training)
            sample = batch['data_samples'][0]
            pictures = [_to_picture(batch['inputs'][0], settings)]
            if 'gt_sem_seg' in sample:
                labels = sample.gt_sem_seg.data[0].numpy()
                present |= set(np.unique(labels).tolist())
                pictures.append(color_classes(labels, dataset.metainfo['palette']))
            rows.append((f'{sample.get("img_path", "")}  {pictures[0].shape[1]}x{pictures[0].shape[0]}', pictures))
        classes = zip(dataset.metainfo.get('classes') or (), dataset.metainfo.get('palette') or (), strict=True)
        legend = {label: color for number_, (label, color) in enumerate(classes) if number_ in present}
        path = folder / f'{name}.png'
        contact_sheet(rows, legend).save(path)
        written.append(path)
    return written


def _domains(config: Config) -> Iterator[tuple[str, Dataset, bool]]:
    """Walk over the data as training draws it, and over the validation data of each domain."""
    names = dict(source='train_dataloader', target='target_dataloader', labelled_target='labelled_target')
    for domain, key in names.items():
        if config.get(key):
            dataset = build_training_set(config[key].dataset, f'{key}.dataset')
            seed = stable_hash(config.randomness.get('seed') or 0, domain)
            yield (
                domain,
                PositionedDataset(dataset, seed, order=build_order(config[key].get('order'), dataset, seed)),
                True,
            )
    if not config.get('val_dataloader'):
        return
    scored = DATASETS.build(config.val_dataloader.dataset)
    check_stock_loaders(scored)
    for _, single in single_data_sets(scored, ''):
        domain = next(iter(domains_of(single)))
        yield f'validation_{domain}' if domain else 'validation', single, False


def _to_picture(image: torch.Tensor, settings: Mapping) -> np.ndarray:
    """Turn a network's input (3, H, W) back to RGB, uint8 (H, W, 3)."""
    if settings.get('mean') is not None:
        mean, deviation = (torch.tensor(settings[name]).view(-1, 1, 1) for name in ('mean', 'std'))
        image = image * deviation + mean
    picture = image.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return picture if settings.get('bgr_to_rgb') else picture[..., ::-1].copy()
