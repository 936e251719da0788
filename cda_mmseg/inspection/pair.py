"""What one image and its label are like, or why they cannot be used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from cda_mmseg.datasets.label_ids import ID_MAPS, IGNORE
from cda_mmseg.datasets.transforms import LoadLabelIds
from cda_mmseg.datasets.transforms.image_files import READING_ERRORS
from cda_mmseg.datasets.transforms.load_label_ids import UNKNOWN

MEASURED_PIXELS = 1 << 17  # of an image, in rows evenly spread: enough for a mean, and cheap beside decoding


@dataclass
class Examined:
    """What was found out about a pair.

    Attributes:
        problem (str): Why it cannot be used, '' if it can.
        culprit (str): The file at fault.
        values (Mapping[int, int]): Pixels of each value of a label file that holds ids of no class.
        foreign (Sequence[int]): Those ids.
        size (tuple[int, int] | None): Width and height of the image.
        mean (np.ndarray | None): Mean of red, green and blue, float64.
        variance (np.ndarray | None): Variance of the same.
        pixels (np.ndarray | None): Pixels (256,) of each label, float64, None without labels.
    """

    problem: str = ''
    culprit: str = ''
    values: Mapping[int, int] = field(default_factory=dict)
    foreign: Sequence[int] = ()
    size: tuple[int, int] | None = None
    mean: np.ndarray | None = None
    variance: np.ndarray | None = None
    pixels: np.ndarray | None = None


def examine(info: Mapping, steps: Sequence[Callable], classes: int, ignored: int) -> Examined:
    """Read a pair by the loading steps of its data set.

    Args:
        info (Mapping): The pair, as ``get_data_info`` gives it.
        steps (Sequence[Callable]): Transforms that read the image and, if there are labels to read, the label.
        classes (int): Number of classes.
        ignored (int): The label that is ignored.
    """
    examined = Examined(culprit=info['img_path'])
    results = dict(info, seg_fields=[])
    try:
        for step in steps:
            if 'img' in results:
                examined.culprit = info['seg_map_path']
            results = step(results)
    except READING_ERRORS as error:
        examined.problem = str(error)
        if 'img' in results and isinstance(step, LoadLabelIds):
            _count_foreign(examined, step)
    if 'img' in results:
        image = results['img']
        examined.size = image.shape[1::-1]
        stride = max(1, image.shape[0] * image.shape[1] // MEASURED_PIXELS)
        mean, deviation = cv2.meanStdDev(np.ascontiguousarray(image[::stride]))
        examined.mean, examined.variance = mean[::-1, 0], deviation[::-1, 0] ** 2
    if 'gt_seg_map' in results and not examined.problem:
        counts = _count(results['gt_seg_map'])
        found = np.flatnonzero(counts)
        examined.foreign = [int(value) for value in found if value >= classes and value != ignored]
        if examined.foreign:
            examined.problem = 'ids of no class'
            examined.values = {int(value): int(counts[value]) for value in found}
        else:
            examined.pixels = counts
    return examined


def _count(labels: np.ndarray) -> np.ndarray:
    """Count the pixels (256,) of each label by runs of equal ones, at a tenth of the cost of ``np.bincount``."""
    flat = labels.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return np.bincount(flat[starts], weights=np.diff(starts, append=flat.size), minlength=256)


def _count_foreign(examined: Examined, loader: LoadLabelIds) -> None:
    """Count the ids of a label that could not be mapped, if that was the fault."""
    try:
        values, numbers = np.unique(loader.raw_ids(examined.culprit), return_counts=True)
    except READING_ERRORS:
        return
    examined.foreign = [int(value) for value in values if loader.table[value] == UNKNOWN]
    if examined.foreign:
        examined.values = dict(zip(values.tolist(), numbers.tolist(), strict=True))


def guess_scheme(values: set[int], classes: int, maps_ids: bool) -> str:
    """Guess what labels with ids of no class are, and what to set, '' without a guess.

    Args:
        values (set[int]): All values of those labels.
        classes (int): Number of classes.
        maps_ids (bool): Whether ``LoadLabelIds`` reads them.
    """
    labels = values - {IGNORE}
    if values == {0, IGNORE}:
        return '0 and 255: binary masks? LoadLabelIds(id_map={0: 0, 255: 1})'
    if maps_ids and labels <= set(range(classes)):
        return "trainIds already? id_map='train_ids' or LoadAnnotations"
    if not maps_ids and labels and max(labels) == classes:
        return f'values {min(labels)} to {classes}: reduce_zero_label=True?'
    for name, scheme in ID_MAPS.items():
        if name != 'train_ids' and values <= scheme.keys() and classes == 19:
            return f'label ids of {name!r}? LoadLabelIds(id_map={name!r})'
    return ''
