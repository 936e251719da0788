"""What a few labels say about how a data set is read, before a run begins."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch.utils.data import Dataset

from cda_mmseg.datasets.label_ids import ID_MAPS, IGNORE
from cda_mmseg.datasets.pipelines import LABEL_LOADERS, check_packed, single_data_sets, steps_of
from cda_mmseg.datasets.transforms import LoadLabelIds
from cda_mmseg.datasets.transforms.check_files import checked
from cda_mmseg.datasets.transforms.image_files import READING_ERRORS
from cda_mmseg.utils.randomness import seeded_sample

SAMPLED_LABELS, SAMPLED_PAIRS = 8, 2
FEW_IDS = 3  # fewer say nothing about a scheme: a void frame, a mask of one object
HALF, MOST, HARDLY_ANY = 0.5, 0.8, 0.05  # shares of pixels that are of a class
LAST_TRAIN_ID = 18
MOVES_PIXELS = frozenset(
    [
        *('Albu', 'CenterCrop', 'MultiScaleFlipAug', 'Pad', 'RandomChoiceResize', 'RandomCrop', 'RandomFlip'),
        *('RandomMosaic', 'RandomResize', 'RandomRotFlip', 'RandomRotate', 'Resize', 'ResizeShortestEdge'),
        'ResizeToMultiple',
    ]
)
"""Transforms of mmcv and mmseg that move pixels, of the image and of labels loaded by then."""


def warn(message: str) -> None:
    """Log a warning."""
    print_log(message, logger='current', level=logging.WARNING)


def check_labels_as_read(
    dataset: Dataset,
    key: str,
    is_training: bool,
    skips_damaged: bool = False,
    warn: Callable[[str], None] = warn,
) -> None:
    """Read a few labels as a data set's pipeline does, and refuse what cannot be meant.

    * Class numbers (``*_labelTrainIds.png``) that are read as label ids, ids of another scheme, and label ids that are
      read as class numbers.
    * In training, an image that was changed before its label was read: both then differ by that change.
    * In training, an image and a label of different size after any step; in validation, a label that does not keep the
      size of the image's file, at which predictions are scored.

    Randomness goes on as if nothing had been read.

    Args:
        dataset (Dataset): The data set, fully initialised; one whose pipeline reads no labels passes, none is opened.
        key (str): Where it stands in the config, for errors.
        is_training (bool): Whether image and label must fit each other pixel by pixel.
        skips_damaged (bool): Whether files that cannot be read are passed over, as training then does, unless none of
            those looked at can.
        warn (Callable[[str], None]): Takes what is odd but may be meant.

    Raises:
        ValueError: If a label is not what it is taken for; the message names the file and what to change.
        OSError: If a file cannot be read.
    """
    for place, single in single_data_sets(dataset, key):
        steps = steps_of(single)
        loader = next((step for step in steps if isinstance(step, LABEL_LOADERS)), None)
        if loader is None or len(single) == 0:
            continue
        with seeded_sample(0), one_opencv_thread():
            if isinstance(loader, LoadLabelIds):
                _check_name(single.get_data_info(0)['seg_map_path'], loader, place)
            _check_values(single, loader, place, skips_damaged, warn)
            if is_training:
                _check_order(steps, loader, place)
            follow = partial(_follow, steps=steps, loader=loader, is_training=is_training)
            for problem in _sampled(single, SAMPLED_PAIRS, skips_damaged, follow):
                if problem:
                    raise ValueError(f'{place}: {problem}')


def check_has_labels(dataset: Dataset, key: str) -> None:
    """Refuse data without labels where losses need them.

    Args:
        dataset (Dataset): The data set, fully initialised.
        key (str): Where it stands in the config, for errors.

    Raises:
        ValueError: If nothing in a pipeline loads labels.
    """
    for place, single in single_data_sets(dataset, key):
        # a loader of the user's own tells itself by what it gives
        if not any(isinstance(step, LABEL_LOADERS) for step in steps_of(single)) and len(single):
            with seeded_sample(0), one_opencv_thread():
                sample = single[0]
            check_packed(sample, place)
            if 'gt_sem_seg' not in sample['data_samples']:
                raise ValueError(f'{place}.pipeline loads no labels: it needs LoadAnnotations or LoadLabelIds.')


def check_reads_no_labels(dataset: Dataset, key: str) -> None:
    """Refuse to read labels of the target, which would choose its crops if nothing else.

    Args:
        dataset (Dataset): The target's training data.
        key (str): Where it stands in the config, for errors.

    Raises:
        ValueError: If a step of a pipeline loads labels.
    """
    for place, single in single_data_sets(dataset, key):
        if names := [type(step).__name__ for step in steps_of(single) if isinstance(step, LABEL_LOADERS)]:
            raise ValueError(
                f'{place}.pipeline reads labels ({", ".join(names)}), but the target is trained on without: take that '
                'step out. Target pictures with labels belong into labelled_target.'
            )


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Start no threads of OpenCV: a process that is forked meanwhile or later could wait for them for ever."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _sampled(
    dataset: BaseDataset, number: int, skips_damaged: bool, examine: Callable[[dict], object]
) -> Iterator[object]:
    """Give what an examination finds in samples spread over a data set."""
    damage, found = None, False
    for index in range(0, len(dataset), -(-len(dataset) // number)):
        info = dataset.get_data_info(index)
        path = info.get('img_path')
        try:
            finding = examine(info)
        except READING_ERRORS as error:
            error.add_note(f'While checking {path} before the run.')
            if not skips_damaged:
                raise
            damage = error
        else:
            found = True
            yield finding
    if damage is not None and not found:
        raise damage


def _check_name(path: str, loader: LoadLabelIds, place: str) -> None:
    """Refuse files that say of themselves that they were converted, where raw ids are to be read."""
    if (
        'trainid' in os.path.basename(path).lower()
        and isinstance(loader.id_map, str)
        and ID_MAPS[loader.id_map] is not ID_MAPS['train_ids']
    ):
        raise ValueError(
            f'{place}: by its name {path} holds class numbers already, but LoadLabelIds reads them as label ids of '
            f"id_map={loader.id_map!r}. Set id_map='train_ids', or seg_map_suffix to the files that hold label ids "
            '(*_labelIds.png).'
        )


def _check_values(
    dataset: BaseDataset, loader: object, place: str, skips_damaged: bool, warn: Callable[[str], None]
) -> None:
    """Compare the values of a few labels with the ids that the loader maps, and with the classes."""
    maps_ids = isinstance(loader, LoadLabelIds)
    counts, labelled, files = [], 0, []
    for path, labels, raw in _sampled(dataset, SAMPLED_LABELS, skips_damaged, partial(_read, checked([loader]))):
        if labels.ndim != 2:
            raise ValueError(
                f'{place}: {type(loader).__name__} reads {labels.shape[2]} channels from {path}, but labels hold one '
                'number per pixel; is it a coloured visualisation?'
            )
        _check_class_numbers(labels, dataset, loader, path, place)
        counts.append(np.bincount(raw.ravel(), minlength=1 << 16))
        labelled += np.count_nonzero((loader.table[raw] if maps_ids else labels) != IGNORE)
        files.append(path)
    is_scheme = maps_ids and isinstance(loader.id_map, str)
    if is_scheme:
        _check_scheme(counts, loader.id_map, files, place, warn)
    pooled = np.sum(counts, axis=0)
    share = labelled / max(int(pooled.sum()), 1)
    if share < (HALF if is_scheme else HARDLY_ANY):
        warn(
            f'{place}: only {share:.1%} of the pixels of {len(files)} labels such as {files[0]} are of a class; their '
            f'values are {np.flatnonzero(pooled).tolist()}. Check the label loader and its id_map.'
        )


def _read(reader: Sequence, info: dict) -> tuple[str, np.ndarray, np.ndarray]:
    """Read a label file; give its path, the labels, and the values of the file."""
    path, results = info['seg_map_path'], info
    for step in reader:
        results = step(results)
    loader, labels = reader[-1], results['gt_seg_map']
    return path, labels, loader.raw_ids(path) if isinstance(loader, LoadLabelIds) else labels


def _check_class_numbers(labels: np.ndarray, dataset: BaseDataset, loader: object, path: str, place: str) -> None:
    """Refuse labels that are no class of the data set."""
    classes = dataset.metainfo.get('classes')
    if classes is None:
        return
    foreign = np.setdiff1d(np.unique(labels), [*range(len(classes)), getattr(dataset, 'ignore_index', IGNORE)])
    if foreign.size:
        raise ValueError(
            f'{place}: {path} holds {foreign[:5].tolist()}, but the data set has the classes 0 to {len(classes) - 1}. '
            + (
                'Check the id_map of LoadLabelIds, and metainfo.classes.'
                if isinstance(loader, LoadLabelIds)
                else "Raw label ids need LoadLabelIds(encoding='index', id_map=...); values from 1 on may need "
                'reduce_zero_label=True; otherwise check metainfo.classes.'
            )
        )


def _check_scheme(
    counts: Sequence[np.ndarray], id_map: str, files: Sequence[str], place: str, warn: Callable[[str], None]
) -> None:
    """Refuse labels that another scheme explains where this one leaves most pixels without a class; warn of some."""
    pooled = np.sum(counts, axis=0)
    found = np.flatnonzero(pooled)
    if better := _better_scheme(pooled, id_map):
        what = 'class numbers already' if better == 'train_ids' else f'ids of {better!r}'
        remedy = ", or dict(type='LoadAnnotations')" if better == 'train_ids' else ''
        raise ValueError(
            f'{place}: the labels look like {what}, but LoadLabelIds reads them as label ids of {id_map!r}: in '
            f'{len(files)} files such as {files[0]} all values are among {found.tolist()}, of which only '
            f'{_share(pooled, ID_MAPS[id_map]):.0%} of the pixels get a class, as against '
            f'{_share(pooled, ID_MAPS[better]):.0%}. Set id_map={better!r}{remedy}, or read the '
            'files that hold label ids (Cityscapes: *_labelIds.png).'
        )
    # Of a single file a warning: a frame that is mostly void may look like another scheme by chance.
    others = [
        (path, scheme) for path, one in zip(files, counts, strict=True) if (scheme := _better_scheme(one, id_map))
    ]
    if others:
        path, scheme = others[0]
        warn(
            f'{place}: {len(others)} of {len(files)} labels, such as {path}, look as if they held ids of '
            f'{scheme!r}, the others ids of {id_map!r}. If some were converted, give all of them the same ids.'
        )
    largest = found[found != IGNORE].max(initial=0)
    if len(found) >= FEW_IDS and id_map not in ('train_ids', 'urbansyn') and largest <= LAST_TRAIN_ID:
        warn(
            f'{place}: no value above {LAST_TRAIN_ID} in {len(files)} labels such as {files[0]}, as if they held class '
            f"numbers instead of the ids of {id_map!r}. If they do, set id_map='train_ids' in LoadLabelIds."
        )


def _better_scheme(counts: np.ndarray, id_map: str) -> str | None:
    """Name the scheme that explains values where the one in use leaves most pixels without a class."""
    found = np.flatnonzero(counts)
    if len(found) < FEW_IDS or _share(counts, ID_MAPS[id_map]) >= HALF:
        return None
    fitting = {name: _share(counts, scheme) for name, scheme in ID_MAPS.items() if set(found.tolist()) <= scheme.keys()}
    better = max(fitting, key=fitting.get, default=id_map)
    return better if better != id_map and fitting[better] > MOST else None


def _share(counts: np.ndarray, scheme: Mapping[int, int]) -> float:
    """Share of the pixels that are of a class under a scheme."""
    labelled = sum(int(counts[label_id]) for label_id, train_id in scheme.items() if train_id != IGNORE)
    return labelled / max(int(counts.sum()), 1)


def _check_order(steps: Sequence, loader: object, place: str) -> None:
    """Refuse transforms that move a training image before its label is there to follow."""
    names = [type(step).__name__ for step in steps[: steps.index(loader)]]
    early = [name for name in names if name in MOVES_PIXELS]
    if early:
        raise ValueError(
            f'{place}: the pipeline changes the image before it reads the label ({", ".join(early)} before '
            f'{type(loader).__name__}), so that they no longer belong together. In training put the step that reads '
            'labels right after the one that loads the image; the other order is for validation.'
        )


def _follow(info: dict, steps: Sequence, loader: object, is_training: bool) -> str:
    """Send a pair through a pipeline; give the problem with its sizes, or ''."""
    path, results = info['seg_map_path'], info
    for step in steps:
        results = step(results)
        if not isinstance(results, dict) or 'img' not in results or 'ori_shape' not in results:
            break
        if 'gt_seg_map' not in results:
            continue
        label = results['gt_seg_map'].shape[:2]
        wanted = tuple((results['img'].shape if is_training else results['ori_shape'])[:2])
        if label != wanted:
            name, reader = type(step).__name__, type(loader).__name__
            found = f'after {name} the label {path} has {label[1]}x{label[0]} pixels'
            if is_training:
                return (
                    f'{found}, its image {wanted[1]}x{wanted[0]}. Every step that changes sizes must change both and '
                    'follow the one that reads the label.'
                )
            return (
                f"{found}, but predictions are scored at the size of the image's file, {wanted[1]}x{wanted[0]}. Let "
                f'{reader} stand after {name}; the other order is for training.'
            )
    return ''
