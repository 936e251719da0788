"""Read every file of all data sets of a config, and say what is wrong and what they are like."""

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from cda_mmseg.datasets.cache import with_progress
from cda_mmseg.datasets.listing import listing_problems, single_configs
from cda_mmseg.datasets.pipelines import LABEL_LOADERS, check_stock_loaders, domains_of, steps_of
from cda_mmseg.datasets.preparation import check_prepared_copy
from cda_mmseg.datasets.source_dataset import SourceDataset
from cda_mmseg.datasets.transforms import LoadImage, LoadLabelIds
from cda_mmseg.datasets.transforms.check_files import CheckImageFile, CheckLabelFile
from cda_mmseg.datasets.transforms.image_files import READING_ERRORS, is_local
from cda_mmseg.engine.data_checks import explained_listing
from cda_mmseg.engine.label_checks import check_labels_as_read, one_opencv_thread
from cda_mmseg.inspection.pair import Examined, examine, guess_scheme

LOADERS = ('train_dataloader', 'labelled_target', 'target_dataloader', 'val_dataloader', 'test_dataloader')
TRAINED = dict(train_dataloader='source', labelled_target='target', target_dataloader='target')
IMAGE_STEPS = (LoadImage, LoadImageFromFile, CheckImageFile)
LABEL_STEPS = (CheckLabelFile, *LABEL_LOADERS)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        place (str): Key of the data set in the config.
        message (str): What it is, and what to do.
        files (tuple[str, ...]): The files that it is about; ``--list-good`` leaves them out.
    """

    place: str
    message: str
    files: tuple[str, ...] = ()


@dataclass
class DataSetReport:
    """What a data set is like.

    Attributes:
        place (str): Its key in the config.
        role (str): What it is for.
        images (int): Number of images listed.
        sizes (Counter): Images by (width, height).
        mean (np.ndarray): Mean of red, green and blue over all images, 0 to 255.
        deviation (np.ndarray): Standard deviation of the same.
        pixels (np.ndarray): Pixels of each class.
        labels (int): Number of labels read.
        seconds (float): Time that reading took.
        pairs (list[tuple[str, str | None, str]]): Path of image and label, and the name in an ``ann_file``, of all
            that were read.
    """

    place: str
    role: str
    images: int
    sizes: Counter = field(default_factory=Counter)
    mean: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    deviation: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(0))
    labels: int = 0
    seconds: float = 0.0
    pairs: list[tuple[str, str | None, str]] = field(default_factory=list)


@dataclass
class Survey:
    """All that was found.

    Attributes:
        classes (tuple[str, ...]): Names of the classes.
        data_sets (list[DataSetReport]): The data sets that could be listed.
        findings (list[Finding]): What is wrong.
        remarks (list[str]): What is worth knowing.
        bad (dict[str, set[str]]): Key of a data set → its files that findings are about.
        named (set[str]): The files of all data sets that findings are about.
    """

    classes: tuple[str, ...] = ()
    data_sets: list[DataSetReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    bad: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    named: set[str] = field(default_factory=set)

    def add(self, place: str, message: str, files: tuple[str, ...] = ()) -> None:
        """Note a finding, unless its files were named before: several data sets may share them."""
        is_known = self.named.issuperset(files) if files else any(path in message for path in self.named)
        if not is_known:
            self.findings.append(Finding(place, message, files))
        self.bad[place].update(files)
        self.named.update(files)


class _Picture(NamedTuple):
    """A picture in its role; ``is_seen`` if training may see it too: it says so, or no score comes of it."""

    place: str
    role: str
    path: str
    is_seen: bool


def survey(config: Config, workers: int = 1) -> Survey:
    """Read every image of the data sets of a config, and every label but those of the target's training images.

    Args:
        config (Config): A composed config of this package.
        workers (int): Number of processes that read.
    """
    init_default_scope('mmseg')
    found = Survey()
    pictures: dict[int, list[_Picture]] = defaultdict(list)
    for key in LOADERS:
        loader = config.get(key) or {}
        validated = (config.get('val_dataloader') or {}).get('dataset')
        if 'dataset' not in loader or (key == 'test_dataloader' and loader['dataset'] == validated):
            continue
        for place, single in single_configs(loader['dataset'], f'{key}.dataset'):
            dataset = _list_files(single, place, found)
            if dataset is not None:
                _survey_one(dataset, place, workers, found, pictures)
    _compare_pictures(pictures, found)
    return found


def _list_files(config: Mapping, place: str, found: Survey) -> BaseDataset | None:
    """Build a data set without what its listing would stop at; None if it cannot be built."""
    is_target = place.startswith('target_dataloader')
    try:
        with explained_listing(config, place):
            # without a pipeline nobody looks for labels
            for problem in listing_problems(dict(config, pipeline=[]) if is_target else config, place):
                if problem.severity == 'remark':
                    found.remarks.append(problem.message)
                else:
                    found.add(place, problem.message, problem.paths)
    except (OSError, ValueError) as error:
        found.add(place, str(error))
    try:
        with explained_listing(config, place):
            dataset = DATASETS.build(dict(config, lazy_init=True))
            if isinstance(dataset, SourceDataset) and (missing := dataset.unlabeled()):
                beginning = os.path.join(dataset.data_prefix['img_path'], dataset.BEGINNINGS[0])
                paths = tuple(beginning + stem + dataset.img_suffix for stem in missing)
                for path in paths:
                    found.add(place, f'{path} has no label in {dataset.data_prefix["seg_map_path"]}.', (path,))
                dataset.exclude |= set(missing)
            dataset.full_init()
        check_prepared_copy(dataset, config, place)
    except (OSError, ValueError) as error:
        found.add(place, str(error))
        return None
    return dataset


def _survey_one(
    dataset: BaseDataset, place: str, workers: int, found: Survey, pictures: dict[int, list[_Picture]]
) -> None:
    """Read the files of a data set, and note what they are like and what is wrong."""
    is_target = place.startswith('target_dataloader')
    steps = _loading_steps(dataset, labels=not is_target)
    classes = tuple(dataset.metainfo.get('classes') or ())
    found.classes = found.classes or classes
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    if any(isinstance(step, LABEL_LOADERS) for step in steps):
        if any('seg_map_path' not in info for info in infos):
            found.add(place, f'{place}: its pipeline loads labels, but data_prefix has no seg_map_path.')
            return
        _check_counterparts(dataset, place, found)
    # what is wrong with a name is known, so that file is not read
    infos = [info for info in infos if not found.bad[place] & {info['img_path'], info.get('seg_map_path')}]
    ignored = getattr(dataset, 'ignore_index', 255)
    start = time.monotonic()
    with one_opencv_thread():
        tasks = [(info, steps, len(classes) or 256, ignored) for info in infos]
        pairs = with_progress(examine, tasks, f'Reading {place}', workers) if tasks else []
    report = _summarise(pairs, len(dataset), place, _role(dataset, place), len(classes))
    report.seconds = time.monotonic() - start
    found.data_sets.append(report)
    for examined in pairs:
        if examined.problem and not examined.foreign:
            found.add(place, examined.problem, (examined.culprit,))
    _name_foreign_ids(pairs, place, len(classes), any(isinstance(step, LoadLabelIds) for step in steps), found)
    if report.labels:
        _judge_classes(report, classes, found)
    if not is_target:
        try:
            check_labels_as_read(dataset, place, place.partition('.')[0] in TRAINED, True, found.remarks.append)
        except READING_ERRORS as error:
            found.add(place, str(error))
    is_seen = bool((dataset.metainfo.get('source_part') or {}).get('seen_in_training')) or not report.labels
    for info, examined in zip(infos, pairs, strict=True):
        if examined.size and is_local(info['img_path'], getattr(dataset, 'backend_args', None)):
            picture = _Picture(place, report.role, info['img_path'], is_seen)
            pictures[os.path.getsize(picture.path)].append(picture)
    if isinstance(dataset, BaseSegDataset):
        folder, end = dataset.data_prefix['img_path'], -len(dataset.img_suffix) or None
        report.pairs = [
            (info['img_path'], info.get('seg_map_path'), os.path.relpath(info['img_path'], folder)[:end])
            for info in infos
        ]


def _loading_steps(dataset: BaseDataset, labels: bool) -> list:
    check_stock_loaders(dataset)
    kinds = (*IMAGE_STEPS, *LABEL_STEPS) if labels else IMAGE_STEPS
    steps = [step for step in steps_of(dataset) if isinstance(step, kinds)]
    # labels are compared with an image that was read before
    return sorted(steps, key=lambda step: isinstance(step, LABEL_STEPS))


def _role(dataset: BaseDataset, place: str) -> str:
    key = place.partition('.')[0]
    if key in TRAINED:
        return f'{TRAINED[key]}, training'
    domain = next(iter(domains_of(dataset)), '') or 'one domain'
    return f'{domain}, {"validation" if key == "val_dataloader" else "test"}'


def _check_counterparts(dataset: BaseDataset, place: str, found: Survey) -> None:
    """Name labels without an image; images without a label are known by now."""
    images, labels = dataset.data_prefix.get('img_path'), dataset.data_prefix.get('seg_map_path')
    if not labels or dataset.ann_file or not fileio.isdir(labels):
        return
    suffix, is_recursive = dataset.seg_map_suffix, not isinstance(dataset, SourceDataset)
    beginning, label_beginning = getattr(dataset, 'BEGINNINGS', ('', ''))
    # of one whose ending has other capitals the list of images tells
    known = {name.lower() for name in fileio.list_dir_or_file(images, list_dir=False, recursive=is_recursive)}
    for name in fileio.list_dir_or_file(labels, list_dir=False, suffix=suffix, recursive=is_recursive):
        image_name = beginning + name[len(label_beginning) : -len(suffix)] + dataset.img_suffix
        image = os.path.join(images, image_name)
        if image_name.lower() not in known and not os.path.lexists(image):
            path = os.path.join(labels, name)
            found.add(place, f'{path} is a label without an image: there is no {image}.', (path,))


def _summarise(pairs: list[Examined], images: int, place: str, role: str, classes: int) -> DataSetReport:
    report = DataSetReport(place, role, images, pixels=np.zeros(256))
    report.sizes = Counter(examined.size for examined in pairs if examined.size)
    means = np.array([examined.mean for examined in pairs if examined.size])
    if len(means):
        report.mean = means.mean(axis=0)
        within = np.mean([examined.variance for examined in pairs if examined.size], axis=0)
        report.deviation = np.sqrt(within + means.var(axis=0))
    for examined in pairs:
        if examined.pixels is not None:
            report.pixels += examined.pixels
            report.labels += 1
    report.pixels = report.pixels[:classes]
    return report


def _name_foreign_ids(pairs: list[Examined], place: str, classes: int, maps_ids: bool, found: Survey) -> None:
    """Name the ids of no class of all labels at once, with the most common ones and a guess at what they are."""
    foreign = [examined for examined in pairs if examined.foreign]
    if not foreign:
        return
    values: Counter = Counter()
    for examined in foreign:
        values.update(examined.values)
    unknown = {value for examined in foreign for value in examined.foreign}
    common = [(value, number) for value, number in values.most_common() if value in unknown][:3]
    listed = ', '.join(f'{value} ({number / values.total():.1%} of their pixels)' for value, number in common)
    guess = guess_scheme(set(values), classes, maps_ids)
    files = tuple(examined.culprit for examined in foreign)
    more = f' and {len(files) - 1} more labels hold' if len(files) > 1 else ' holds'
    message = f'{files[0]}{more} ids of no class, most often {listed}.'
    found.add(place, message + (f' A guess: {guess}' if guess else ' Check the id_map and metainfo.classes.'), files)


def _judge_classes(report: DataSetReport, classes: tuple[str, ...], found: Survey) -> None:
    seen = np.flatnonzero(report.pixels)
    if not len(seen):
        found.add(report.place, f'{report.place}: no pixel of {report.labels} labels is of a class. Check the id_map.')
    elif seen.tolist() == [0] and len(classes) > 1:
        message = f'{report.place}: {report.labels} labels hold the class 0 ({classes[0]}) and nothing else.'
        found.add(report.place, f'{message} 0 and 255: binary masks? LoadLabelIds(id_map={{0: 0, 255: 1}})')
    elif len(seen) < len(classes):
        missing = ', '.join(name for index, name in enumerate(classes) if index not in seen)
        found.remarks.append(f'{report.place}: never seen in {report.labels} labels: {missing}.')


def _compare_pictures(pictures: Mapping[int, list[_Picture]], found: Survey) -> None:
    """Name pictures that two data sets of different roles have; the first stays out of what is good there."""
    for similar in pictures.values():
        if len({picture.role for picture in similar}) == 1:
            continue
        seen: dict[bytes, _Picture] = {}
        for picture in similar:
            first = seen.setdefault(hashlib.sha256(Path(picture.path).read_bytes()).digest(), picture)
            domain, use = first.role.split(', ')
            # a source may be scored on images of training, if the score says so, and validation data be tested on
            is_meant = domain == picture.role.split(', ')[0] and (picture.is_seen or use == 'validation')
            if first.role != picture.role and not is_meant:
                message = f'{first.path} ({first.role}) and {picture.path} ({picture.role}) are the same picture.'
                found.findings.append(Finding(first.place, message, (first.path,)))
                found.bad[first.place].add(first.path)


def write_good_lists(found: Survey, folder: Path) -> list[str]:
    """Write an ``ann_file`` for each data set that takes one, with the images without a finding, if there are any.

    Args:
        found (Survey): What was found.
        folder (Path): Where to write.

    Returns:
        list[str]: Options that make a run read them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = []
    for report in found.data_sets:
        bad = found.bad[report.place]
        names = [name for image, label, name in report.pairs if not bad & {image, label}]
        if not names:
            continue
        path = folder.resolve() / f'{report.place}.txt'
        path.write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')
        options.append(f'{report.place}.ann_file={path}')
    return options
