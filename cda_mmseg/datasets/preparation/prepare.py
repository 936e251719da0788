"""Write a prepared copy of a training data set."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO

import torch.utils.data
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from rich.progress import track

from cda_mmseg.utils.atomic_file import INCOMPLETE, replaced_when_complete

from ..transforms.check_files import checked
from .checks import class_subset
from .encoding import FORMATS, label_encoder
from .pairs import Pairs, Result, start_worker
from .record import LOCK, add_files, alone, open_files, plain, read_files, read_record, write_record
from .source import check_folders, check_listing, list_all_pairs, suffixes_of_copy
from .steps import LABEL_LOADERS, build_steps, kept_steps

SAMPLED_PAIRS = 8
DISK_MARGIN = 1.05


@dataclass
class Outcome:
    """What a run of :func:`prepare` did.

    Attributes:
        pairs (int): Pairs of the data set (images, where there are no labels).
        written (int): Pairs written now; the others were there.
        bytes (int): Size of all files of the copy.
        problems (list[str]): Pairs that could not be read, each with its file and what to do.
        options (dict[str, str]): Keys of the data set's config to change, to train from the copy.
        sizes (dict[str, int]): Number of images by 'width×height'.
    """

    pairs: int
    written: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def prepare(
    config: Mapping,
    out: str,
    labels: bool = True,
    image_format: str = 'png',
    quality: int = 95,
    workers: int = 0,
    report: Callable[[str], None] = print,
) -> Outcome:
    """Write what the first steps of a training pipeline make of a data set: images and labels, read and resized.

    The copy has the folders and names of the source. Every file is read back by those same steps and compared before
    it gets its name, and noted with its SHA-256 in ``prepared_files.jsonl``. An interrupted run goes on when it is
    started again with the same arguments. A pair that cannot be read is left out and reported; the copy then counts as
    unfinished until a later run could read it.

    Args:
        config (Mapping): Config of the data set with its ``pipeline``, as in a training config.
        out (str): Folder of the copy: new, empty, or a copy made with the same arguments. Nothing is written elsewhere.
        labels (bool): Whether the labels are copied. Without, no label file is opened.
        image_format (str): 'png' (lossless) or 'jpg'.
        quality (int): Quality of JPEGs, 1..100.
        workers (int): Number of processes; 0 for this one alone.
        report (Callable[[str], None]): Gets lines for the user.

    Returns:
        Outcome: What was done.

    Raises:
        ValueError: If an argument, the data set or its pipeline cannot be prepared.
        FileExistsError: If the folder holds something else, or a copy made with other arguments.
        BlockingIOError: If another process writes this copy.
        OSError: If the copy cannot be written, or the disk has too little room for it.
    """
    if image_format not in FORMATS:
        raise ValueError(f'the format must be one of {", ".join(FORMATS)}, got {image_format!r}')
    if not 1 <= quality <= 100:
        raise ValueError(f'the quality must be in 1..100, got {quality}')
    if workers < 0:
        raise ValueError(f'the number of workers must be at least 0, got {workers}')
    init_default_scope('mmseg')
    config, source = list_all_pairs(config)
    steps = kept_steps(config.get('pipeline', ()), labels)
    label_step = next((index for index, step in enumerate(steps) if step['type'] in LABEL_LOADERS), None)
    check_folders(source, out)
    suffixes = suffixes_of_copy(source, image_format, label_step is not None)
    record = dict(
        source=os.path.realpath(source.data_root),
        dataset=type(source).__name__,
        steps=plain(steps),
        class_subset=None if label_step is None else class_subset(source),
        format=image_format,
        quality=quality if image_format == 'jpg' else None,
        images=len(source),
        complete=False,
    )
    _check_same(record, out)
    outcome = Outcome(len(source), options=dict(data_root=out))
    outcome.options |= {key: suffix for key, suffix in suffixes.items() if suffix != getattr(source, key)}

    os.makedirs(out, exist_ok=True)
    with alone(out):
        write_record(out, record)
        _remove_incomplete(out)
        _copy_annotation_file(source, out)
        transforms = build_steps(steps)
        encoder = None
        if label_step is not None:
            encoder = label_encoder(transforms[label_step], source.get_data_info(0), out)
        pairs = Pairs(source, out, checked(transforms), encoder, suffixes, image_format, quality)
        with open_files(out) as file:
            known = read_files(out)
            pairs.wanted = [index for index in range(len(source)) if not pairs.is_complete(index, known)]
            if pairs.wanted:
                _check_room(pairs, report)
                outcome.problems = _write(pairs, file, workers)
            outcome.written = len(pairs.wanted) - len(outcome.problems)
        files = read_files(out)
        outcome.bytes = sum(entry['bytes'] for entry in files.values())
        outcome.sizes = dict(Counter('{}×{}'.format(*entry['size']) for entry in files.values() if 'size' in entry))
        if not outcome.problems:
            check_listing(source, {**config, **suffixes, 'data_root': out})
            write_record(out, {**record, 'sizes': outcome.sizes, 'complete': True})
    return outcome


def _write(pairs: Pairs, file: IO[bytes], workers: int) -> list[str]:
    """Write all pairs that are wanted, with a progress bar; give the problems of those that cannot be read."""
    loader = torch.utils.data.DataLoader(
        pairs,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=start_worker,
        # A fork of a process that runs threads (torch, OpenCV) may hang.
        multiprocessing_context='spawn' if workers else None,
    )
    problems: list[str] = []
    try:
        for result in track(loader, 'Preparing pairs', len(pairs)):
            if result.stop:
                raise OSError(f'{result.problem}. Repair this and give the same command again: it goes on.')
            if result.problem:
                problems.append(result.problem)
            add_files(file, result.entries)
    except RuntimeError as error:
        if 'DataLoader worker' not in str(error):
            raise
        raise OSError(f'a process was killed ({error}); give the same command again: it goes on') from error
    return problems


def _as_it_is(result: Result) -> Result:
    """Leave a result alone, where torch would make tensors of it."""
    return result


def _check_same(record: dict, out: str) -> None:
    """Refuse a folder that holds anything but a copy made with the same arguments."""
    found = read_record(out)
    if found is None:
        if os.path.exists(out) and (not os.path.isdir(out) or set(os.listdir(out)) - {LOCK}):
            raise FileExistsError(f'{out} exists and is no prepared copy; choose another folder')
        return
    compared = ('source', 'dataset', 'steps', 'class_subset', 'format', 'quality')
    changed = [f'{key}: {found.get(key)} → {record[key]}' for key in compared if found.get(key) != record[key]]
    if changed:
        raise FileExistsError(
            f'{out} holds a copy made with other arguments ({"; ".join(changed)}); choose another folder'
        )


def _remove_incomplete(out: str) -> None:
    """Remove what killed writers left behind, in all folders."""
    for parent, _, names in os.walk(out):
        for name in names:
            if name.endswith(INCOMPLETE):
                os.remove(os.path.join(parent, name))


def _copy_annotation_file(source: BaseDataset, out: str) -> None:
    """Copy the list of names of data sets that have one below their root."""
    if not source.ann_file or not os.path.isfile(source.ann_file):
        return
    path = os.path.relpath(source.ann_file, source.data_root)
    if not path.startswith(os.pardir):
        copy = os.path.join(out, path)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        with replaced_when_complete(copy) as incomplete:
            shutil.copyfile(source.ann_file, incomplete)


def _check_room(pairs: Pairs, report: Callable[[str], None]) -> None:
    """Project the size of what is to be written from some pairs, and refuse a disk that is too small."""
    sizes, problem = [], None
    for index in pairs.wanted[:: -(-len(pairs.wanted) // SAMPLED_PAIRS)]:
        try:
            sizes.append(sum(map(len, pairs.encode(index)[0].values())))
        except Exception as error:  # it is reported with its file when its turn comes
            problem = error
    if not sizes:
        if len(pairs.wanted) > SAMPLED_PAIRS:
            raise ValueError(f'none of {SAMPLED_PAIRS} sampled pairs can be read; the last one: {problem}')
        return
    needed = DISK_MARGIN * len(pairs.wanted) * sum(sizes) / len(sizes)
    free = shutil.disk_usage(pairs.out).free
    report(
        f'{len(pairs.wanted)} of {len(pairs.infos)} pairs to write, about {needed / 1e9:.3g} GB '
        f'(projected from {len(sizes)} of them); {free / 1e9:.3g} GB are free.'
    )
    if needed > free:
        raise OSError(f'{pairs.out}: the copy needs about {needed / 1e9:.3g} GB, but {free / 1e9:.3g} GB are free')
