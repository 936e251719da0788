"""Look through the folders and split files of a data set before its files are listed.

mmseg lists what ends in ``img_suffix`` and is a file: whatever is not, or is spelt otherwise, is left out without a
word, and a link to a folder above is followed forty times.
"""

import errno
import io
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mmcv.transforms import LoadAnnotations
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, TRANSFORMS

from .source_dataset import SourceDataset
from .transforms.image_files import is_local, special_kind
from .transforms.load_label_ids import LoadLabelIds

PICTURES = frozenset(('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp'))
MAX_NAMED = 5
LINK_TO_ITSELF = 'link to itself'
BYTE_ORDER_MARKS = (b'\xef\xbb\xbf', b'\xff\xfe', b'\xfe\xff')


class ListingProblem(NamedTuple):
    """What is wrong with the names of a data set's files.

    Attributes:
        severity (str): 'error', 'damage' (files that training may go on without) or 'remark'.
        message (str): What is wrong, and what to do.
        paths (tuple[str, ...]): The files of a 'damage'.
    """

    severity: str
    message: str
    paths: tuple[str, ...] = ()


def check_listing(config: Mapping, key: str, skips_damaged: bool = False) -> None:
    """Name what a data set would leave out, list several times, or miss only when a sample is drawn.

    Looked at are folders and names, and the lines of a split file; no image or label is opened, and labels only if the
    pipeline loads them. Data sets that list their files in a way of their own are left alone.

    Args:
        config (Mapping): Config of a data set, or of several joined; anything else passes.
        key (str): Where it stands in the run's config, for errors.
        skips_damaged (bool): Whether to warn of FIFOs, links that lead nowhere and other things that are no files,
            and of missing labels; otherwise they are errors.

    Raises:
        ValueError: If suffixes differ from ``img_suffix`` in capitals alone, something is no file, a link leads to a
            folder above itself, a split file has another form than a name per line, or an image or label is missing.
    """
    for place, single in single_configs(config, key):
        for problem in listing_problems(single, place):
            if problem.severity == 'error' or (problem.severity == 'damage' and not skips_damaged):
                raise ValueError(problem.message)
            print_log(problem.message, logger='current', level=logging.WARNING)


def listing_problems(config: Mapping, place: str) -> Iterator[ListingProblem]:
    """Look for what :func:`check_listing` tells of.

    Args:
        config (Mapping): Config of one data set.
        place (str): Where it stands in the run's config.

    Yields:
        ListingProblem: The problems; after an 'error' the list of files is not what was meant.

    Raises:
        ValueError: If a link leads to a folder above itself or a split file has another form.
    """
    kind = DATASETS.get(config['type']) if isinstance(config['type'], str) else config['type']
    if not isinstance(kind, type) or not issubclass(kind, BaseSegDataset):
        return
    if kind.load_data_list not in (BaseSegDataset.load_data_list, SourceDataset.load_data_list):
        return
    dataset = DATASETS.build(dict(config, pipeline=[], lazy_init=True, serialize_data=False))
    folder = dataset.data_prefix.get('img_path')
    if folder is not None and is_local(folder, dataset.backend_args) and os.path.isdir(folder):
        has_split = bool(config.get('ann_file')) or (bool(dataset.ann_file) and not os.path.isdir(dataset.ann_file))
        yield from _check(dataset, place, has_split, _loads_labels(config.get('pipeline', ())))


def single_configs(config: Mapping, key: str) -> Iterator[tuple[str, Mapping]]:
    """Walk over the configs of the data sets that a wrapper's config joins.

    Args:
        config (Mapping): Config of a data set, or of several joined; anything else has none.
        key (str): Where it stands in the run's config.

    Yields:
        tuple[str, Mapping]: Where each stands, and its config.
    """
    if not isinstance(config, Mapping):
        return
    if 'datasets' in config:
        for number, member in enumerate(config['datasets']):
            yield from single_configs(member, f'{key}.datasets.{number}')
    elif 'dataset' in config:
        yield from single_configs(config['dataset'], f'{key}.dataset')
    elif 'type' in config:
        yield key, config


def _loads_labels(steps: object) -> bool:
    """Tell whether a pipeline's config loads labels, nested transforms included."""
    if isinstance(steps, Mapping):
        kind = steps.get('type')
        kind = TRANSFORMS.get(kind) if isinstance(kind, str) else kind
        is_loader = isinstance(kind, type) and issubclass(kind, LoadAnnotations | LoadLabelIds)
        return is_loader or _loads_labels(steps.get('transforms', ()))
    return isinstance(steps, list | tuple) and any(map(_loads_labels, steps))


def _check(dataset: BaseSegDataset, place: str, has_split: bool, loads_labels: bool) -> Iterator[ListingProblem]:
    """Check one data set on the local file system."""

    def damage(found: Mapping[str, str], folder: str, what: str, remedy: str) -> Iterator[ListingProblem]:
        if not found:
            return
        named = [f'{path} ({kind})' if kind else path for path, kind in found.items()]
        listed = ', '.join(named[:MAX_NAMED]) + (', …' if len(named) > MAX_NAMED else '')
        severity = 'error' if LINK_TO_ITSELF in found.values() else 'damage'  # which mmseg cannot list
        paths = tuple(os.path.join(folder, path) for path in found)
        yield ListingProblem(severity, f'{place}: {len(found)} {what}: {listed}. {remedy}', paths)

    images, labels = (dataset.data_prefix.get(name) for name in ('img_path', 'seg_map_path'))
    is_recursive = not isinstance(dataset, SourceDataset)
    entries = dict(walk(images, is_recursive, place))
    if has_split:
        names = _check_split(dataset, place, entries)
    else:
        yield from _check_suffixes(dataset, place, entries, images != labels)

    def is_listed(path: str, suffix: str) -> bool:
        return path.endswith(suffix) and (not has_split or path[: len(path) - len(suffix)] in names)

    no_files = {path: kind for path, kind in entries.items() if kind and is_listed(path, dataset.img_suffix)}
    what = f'things in {images} are called like images but are no files'
    yield from damage(no_files, images, what, 'Replace or remove them.')
    if not loads_labels or labels is None or not os.path.isdir(labels):
        return
    found = dict(walk(labels, is_recursive, place))
    no_files = {path: kind for path, kind in found.items() if kind and is_listed(path, dataset.seg_map_suffix)}
    what = f'things in {labels} are called like labels but are no files'
    yield from damage(no_files, labels, what, 'Replace or remove them.')
    if is_recursive:  # the others say so themselves
        dataset.full_init()
        wanted = [os.path.relpath(info['seg_map_path'], labels) for info in dataset.data_list]
        missing = {path: '' for path in wanted if path not in found}
        remedy = f'Add them, remove their images, or check seg_map_suffix={dataset.seg_map_suffix!r}.'
        yield from damage(missing, labels, f'of {len(wanted)} images have no label in {labels}', remedy)


def walk(folder: str, is_recursive: bool, place: str) -> Iterator[tuple[str, str]]:
    """Walk over what a folder holds, as mmengine lists it: folders behind links too, and no hidden files.

    Args:
        folder (str): The folder.
        is_recursive (bool): Whether to enter the folders in it.
        place (str): Whose it is, for errors.

    Yields:
        tuple[str, str]: A path below the folder, and what it is if it is no file.

    Raises:
        ValueError: If a link leads to a folder that it lies in.
    """

    def enter(path: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str]]:
        state = os.stat(path)
        identity = (state.st_dev, state.st_ino)
        if identity in above:
            raise ValueError(
                f'{place}: {path} is a link to a folder that it lies in, so its files would be listed again and again. '
                'Remove it.'
            )
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            kind = _kind(entry)
            if entry.name.startswith('.') and kind != 'folder':
                continue
            yield os.path.relpath(entry.path, folder), kind
            if kind == 'folder' and is_recursive:
                yield from enter(entry.path, (*above, identity))

    return enter(folder, ())


def _kind(entry: os.DirEntry) -> str:
    """Name what an entry is if it is no file."""
    try:
        if entry.is_file():
            return ''
        return special_kind(entry.stat().st_mode)
    except FileNotFoundError:
        return 'link that leads nowhere'
    except OSError as error:
        return LINK_TO_ITSELF if error.errno == errno.ELOOP else os.strerror(error.errno)


def _check_suffixes(
    dataset: BaseSegDataset, place: str, entries: Mapping[str, str], warns: bool
) -> Iterator[ListingProblem]:
    """Name files that only their capitals keep from being listed, and pictures of other kinds."""
    suffix, folder = dataset.img_suffix, dataset.data_prefix['img_path']
    others = [path for path, kind in entries.items() if not kind and not path.endswith(suffix)]
    capitals = [path for path in others if path.lower().endswith(suffix.lower())]
    if capitals:
        ending = capitals[0][-len(suffix) :]
        yield ListingProblem(
            'error',
            f'{place}: {len(capitals)} images in {folder} would be left out because they end in {ending!r} instead of '
            f'img_suffix={suffix!r}, such as {capitals[0]}. Give all the same ending'
            + (
                '.'
                if len(capitals) < sum(not kind for kind in entries.values())
                else f', or set img_suffix={ending!r}.'
            ),
        )
    extension = os.path.splitext('name' + suffix)[1]
    pictures = Counter(os.path.splitext(path)[1] for path in others)
    pictures = {kind: number for kind, number in pictures.items() if kind.lower() in PICTURES - {extension.lower()}}
    if pictures and warns:
        listed = ', '.join(f'{number} *{kind}' for kind, number in sorted(pictures.items()))
        yield ListingProblem('remark', f'{place}: {listed} in {folder} are left out, as img_suffix={suffix!r}.')


def _check_split(dataset: BaseSegDataset, place: str, entries: Mapping[str, str]) -> set[str]:
    """Check that a split file has one name per line, without suffix, of an image that is there; give the names."""
    path, suffix = dataset.ann_file, dataset.img_suffix
    if not os.path.isfile(path):
        raise ValueError(f'{place}.ann_file={path} is no file.')
    with open(path, 'rb') as file:
        content = file.read()
    if content.startswith(BYTE_ORDER_MARKS):
        raise ValueError(f'{place}.ann_file={path} begins with a byte order mark; save it as UTF-8 without.')
    try:
        lines = io.StringIO(content.decode(), newline=None).readlines()  # at the ends of lines that mmengine knows
    except UnicodeDecodeError as error:
        raise ValueError(f'{place}.ann_file={path} is no text in UTF-8 ({error}).') from error
    if not lines:
        raise ValueError(f'{place}.ann_file={path} is empty; write the name of an image into each line.')
    for number, line in enumerate(lines, 1):
        name = line.strip()
        where = f'{place}.ann_file={path}, line {number}'
        if not name:
            raise ValueError(f'{where} is blank; remove it.')
        if os.path.normpath(name + suffix) in entries:
            continue
        if name.lower().endswith(suffix.lower()) and suffix:
            raise ValueError(
                f'{where}: {name!r} has the suffix already, which img_suffix={suffix!r} adds; leave it out.'
            )
        image = os.path.join(dataset.data_prefix['img_path'], name + suffix)
        if not os.path.exists(image):
            raise ValueError(
                f'{where}: there is no image {image}. Each line is a name below data_prefix.img_path, without '
                'img_suffix and nothing else.'
            )
    return {os.path.normpath(line.strip()) for line in lines}
