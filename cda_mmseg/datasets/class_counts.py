"""How many pixels of each class the labels of a data set have, counted once."""

import copy

import numpy as np
from torch.utils.data import Dataset

from cda_mmseg.datasets.cache import computed_once, file_state, with_progress
from cda_mmseg.datasets.single import single_data_sets
from cda_mmseg.datasets.transforms.check_files import checked

LABEL_KEY = 'gt_seg_map'
READERS = ('CheckLabelFile', 'LoadAnnotations', 'LoadLabelIds')


def count_classes(dataset: Dataset, workers: int | None = None) -> np.ndarray:
    """Count the pixels of each class in each label of a data set.

    The label files are read as the data set's own pipeline reads them, before any resizing. The counts are kept in
    ``$XDG_CACHE_HOME/cda_mmseg`` (``~/.cache`` by default) under a name that changes with the files' names, sizes and
    times and with how they are read.

    Args:
        dataset (Dataset): A labelled data set of mmseg, or several of such, joined or repeated.
        workers (int | None): Processes that read; by default as many as there are cores.

    Returns:
        np.ndarray: Pixels (samples, classes), int64.

    Raises:
        TypeError: If a data set loads no labels.
    """
    if hasattr(dataset, 'datasets'):
        return np.concatenate([count_classes(part, workers) for part in dataset.datasets])
    return _count_part(dataset, workers)


def _count_part(dataset: Dataset, workers: int | None) -> np.ndarray:
    readers = label_readers(dataset)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    classes = len(dataset.metainfo['classes'])

    def count() -> dict[str, np.ndarray]:
        tasks = [(info, readers, classes) for info in infos]
        return dict(counts=np.array(with_progress(_count, tasks, 'Counting classes', workers)))

    return computed_once('class_counts', label_states(dataset), count)['counts']


def label_states(dataset: Dataset) -> list:
    """List what changes when the labels of a data set, or the way in which they are read, do."""
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    settings = [_settings(reader) for reader in label_readers(dataset)]
    return [len(dataset.metainfo['classes']), settings, *map(_state, infos)]


def label_readers(dataset: Dataset) -> list:
    """Take the steps of a data set's pipeline that read labels; TypeError if there are none."""
    [(_, single)] = single_data_sets(dataset, '')
    steps = checked(single.pipeline.transforms)
    readers = [copy.deepcopy(step) for step in steps if type(step).__name__ in READERS]
    if not readers:
        raise TypeError(
            f'{type(dataset).__name__} reads no labels: its pipeline needs LoadAnnotations or LoadLabelIds, or the '
            'loader another order.'
        )
    return readers


def _count(info: dict, readers: list, classes: int) -> np.ndarray:
    results = dict(info)
    for reader in readers:
        results = reader(results)
    return np.bincount(results[LABEL_KEY].ravel(), minlength=256)[:classes]


def _settings(reader: object) -> tuple:
    """Name what decides how a label is read; mmseg's LoadAnnotations changes reduce_zero_label as it reads."""
    kept = {name: vars(reader)[name] for name in ('encoding', 'id_map', 'imdecode_backend') if name in vars(reader)}
    return type(reader).__name__, sorted(kept.items())


def _state(info: dict) -> tuple:
    return *file_state(info['seg_map_path']), info.get('label_map'), info.get('reduce_zero_label')
