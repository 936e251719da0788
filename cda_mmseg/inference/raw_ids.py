"""What the data sets of a config say of the classes: names, colours, and the ids that labels hold."""

import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS, TRANSFORMS

from cda_mmseg.datasets.listing import single_configs
from cda_mmseg.datasets.pipelines import LABEL_LOADERS
from cda_mmseg.datasets.preparation.encoding import NO_ID, label_encoder


def raw_id_table(config: Config, classes: Sequence[str]) -> np.ndarray:
    """Find the label id of every class, as the config's own label loader reads it.

    The target's validation data come first, then the source's, then training data. Of several ids with one class the
    smallest counts.

    Args:
        config: The config, with data sets.
        classes: Names of the network's classes.

    Returns:
        Table of 256 entries, uint8, for class ids.

    Raises:
        ValueError: If no data set loads labels, or a class has no id that 8 bits hold.
    """
    found = []
    for place, single in _data_sets(config):
        for step in single.get('pipeline', ()):
            kind = TRANSFORMS.get(step['type'])
            if isinstance(kind, type) and issubclass(kind, LABEL_LOADERS):
                found.append((not _is_target(single), place, single, step))
    if not found:
        raise ValueError('--write label_id: no data set of the config loads labels, so it names no label ids.')
    _, place, single, step = min(found, key=lambda entry: entry[0])  # the first of equals
    dataset = _build(single)
    info = dict(label_map=dataset.label_map, reduce_zero_label=dataset.reduce_zero_label)
    with tempfile.TemporaryDirectory() as folder:
        ids = label_encoder(TRANSFORMS.build(step), info, folder).ids[: len(classes)]
    for name, label_id in zip(classes, ids, strict=True):
        if label_id == NO_ID or label_id > 255:
            raise ValueError(f'--write label_id: {place} has no label id of 8 bits for the class {name!r}.')
    table = np.zeros(256, np.uint8)
    table[: len(ids)] = ids
    return table


def data_set_meta(config: Config) -> dict:
    """Find ``classes`` and ``palette`` in a config's data sets, for checkpoints that do not name them.

    Raises:
        ValueError: If it has none.
    """
    for _, single in _data_sets(config):
        return _build(single).metainfo
    raise ValueError('Neither the checkpoint nor a data set of the config names the classes.')


def _data_sets(config: Config) -> Iterator[tuple[str, dict]]:
    """Walk over the data sets of a config."""
    for name in ('val_dataloader', 'test_dataloader', 'train_dataloader'):
        if config.get(name):
            yield from single_configs(config[name].dataset, f'{name}.dataset')


def _build(single: dict) -> BaseDataset:
    """Build a data set that lists no files."""
    return DATASETS.build(dict(single, pipeline=[], lazy_init=True, serialize_data=False))


def _is_target(single: dict) -> bool:
    return any(str(step.get('domain', '')).startswith('target') for step in single['pipeline'])
