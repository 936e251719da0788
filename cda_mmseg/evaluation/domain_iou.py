"""Score a segmentor on several domains in one pass."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from mmengine.logging import print_log
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from PIL import Image
from prettytable import PrettyTable

from cda_mmseg.datasets.transforms.tag_domain import check_domains, role_of
from cda_mmseg.evaluation.class_areas import (
    GROUND_TRUTH,
    INTERSECTION,
    PREDICTION,
    PREDICTION_EVERYWHERE,
    class_areas,
    count_class_table,
)
from cda_mmseg.evaluation.entropy import mean_normalized_entropy
from cda_mmseg.utils.arguments import lists_arguments
from cda_mmseg.utils.atomic_file import write_text

IOU_METRICS = ('mIoU', 'mDice', 'mFscore')
RESERVED_NAMES = (*IOU_METRICS, 'mPrecision', 'mRecall', 'mAcc', 'aAcc', 'images', 'entropy', 'share_distance')


@dataclass(frozen=True)
class ImageResult:
    """Hold what one image contributes to the scores of its domain.

    Attributes:
        domain (str): Name of the domain that the image belongs to.
        image (str): Its file.
        table (np.ndarray): int64 pixel counts as :func:`count_class_table` returns them.
        labeled (bool): Whether the image has a ground truth.
        entropy (float | None): Mean normalised entropy of the prediction in [0, 1], if it was asked for.
    """

    domain: str
    image: str
    table: np.ndarray
    labeled: bool
    entropy: float | None

    @property
    def iou(self) -> np.ndarray:
        """np.ndarray: IoU per class as a fraction; NaN for a class that is neither there nor predicted."""
        areas = class_areas(self.table)
        return _ratio(areas[INTERSECTION], areas[PREDICTION] + areas[GROUND_TRUTH] - areas[INTERSECTION])

    @property
    def mean_iou(self) -> float:
        """float: Mean of ``iou`` over the classes that have one; NaN without labels."""
        return _mean(self.iou)


@dataclass(frozen=True)
class DomainScores:
    """Hold the scores of one domain, or the mean of several.

    Attributes:
        summary (dict[str, float]): Means by name, as fractions.
        per_class (dict[str, np.ndarray]): ``share`` and, with labels, ``IoU`` and ``Acc``: a fraction per class.
        images (int): Number of images.
        labeled (int): How many of them have a ground truth.
        table (np.ndarray): int64 pixel counts as :func:`count_class_table` returns them, over all images.
        parts (tuple[str, ...]): The domains that this is the mean of.
    """

    summary: dict[str, float]
    per_class: dict[str, np.ndarray]
    images: int
    labeled: int
    table: np.ndarray
    parts: tuple[str, ...] = ()


@METRICS.register_module()
class DomainIoUMetric(IoUMetric):
    """Score any number of domains separately in one pass over a concatenated data set.

    Every data sample says in its meta information to which ``domain`` it belongs: ``'source'``, ``'target'`` or, where
    there are several of a kind, one of these with an ending, as ``'target_night'`` and ``'target_fog'``. All scores are
    percentages, rounded to two decimals like those of mmseg's ``IoUMetric``, and named after the domain:

    * ``target/mIoU``, ``target/mAcc``, ``target/aAcc`` and, per class, ``target/IoU.road``, with labels only; likewise
      the other scores of ``iou_metrics``, as ``target/mDice`` and ``target/Dice.road``;
    * one mean IoU per class list, such as ``target/mIoU16``: the IoU of every class is computed over all pixels and
      classes first and averaged over the list then, which is how 16- and 13-class scores on SYNTHIA are reported;
    * ``target/share.road``: the share of pixels predicted as this class, ignored and unlabeled pixels included;
    * ``target/share_distance``: total-variation distance between the predicted class shares of the target and of the
      source, 0 for equal shares, 100 for disjoint ones: an alarm that needs no labels;
    * ``target/entropy``: mean entropy of the predictions, 100 for uniform probabilities;
    * ``target/images``: the number of images.

    Each of several targets has these scores under its own name, as ``target_night/mIoU``; those of ``target`` are then
    the means of theirs, each counting once however many images it has (``images`` is the sum). Sources alike.

    A class with neither ground truth nor prediction has no IoU: it is NaN, left out of the means, and named in the
    log. Samples without ``gt_sem_seg`` are normal: a domain without any labels gets the label-free scores alone.

    Args:
        ignore_index (int): Ground-truth id of pixels that are not scored, not negative.
        iou_metrics (str | Sequence[str]): What is scored of images with labels: 'mIoU', 'mDice', 'mFscore'.
        nan_to_num (int | None): Score of classes with neither ground truth nor prediction; left out by default.
        beta (int): Weight of recall in 'mFscore'.
        class_lists (Mapping[str, Sequence[int | str]] | None): Further means to report: name of the score → the
            indices or names of its classes.
        entropy (bool | str): Whether to measure the entropy of the predictions; ``'auto'`` does so for images
            without labels.
        domain_notes (Mapping[str, str] | None): Domain → a remark printed with its scores, such as
            ``'500 training images, seen in training'``.
        output_dir (str | None): Write the predicted class ids as ``<output_dir>/<domain>/<image name>.png``; images of
            one name in one domain are an error.
        per_image (str | None): Write a table with a line per image into this CSV file: its domain, mIoU, aAcc and IoU
            per class, in percent; empty for classes that are neither there nor predicted, and without labels.
        format_only (bool): Whether to write predictions and score nothing.
        keep_results (bool): Must be True, as mmseg's ``test.py --out`` says: what is written stays.
        collect_device (str): 'gpu' sends the results of several processes through their process group, on whichever
            device that works; 'cpu' through files in the current folder, as mmengine does by default.
        prefix (str | None): Prefix in front of the names of all scores.

    Attributes:
        confusion (dict[str, np.ndarray]): Domain with labels → int64 pixel counts of the last evaluation, shape
            (num_classes, num_classes), row: true class, column: predicted class. On the first process alone.

    Raises:
        ValueError: If a class list is empty, has a reserved name, or names an unknown class; if two classes have one
            name; for a sample without a domain, or with both ``target`` and ``target_…`` among the domains; for a
            prediction and ground truth that do not fit together (with the name of the file).
    """

    default_prefix = ''

    @lists_arguments
    def __init__(
        self,
        ignore_index: int = 255,
        iou_metrics: str | Sequence[str] = ('mIoU',),
        nan_to_num: int | None = None,
        beta: int = 1,
        class_lists: Mapping[str, Sequence[int | str]] | None = None,
        entropy: bool | Literal['auto'] = 'auto',
        domain_notes: Mapping[str, str] | None = None,
        output_dir: str | None = None,
        per_image: str | None = None,
        format_only: bool = False,
        keep_results: bool = True,
        collect_device: str = 'gpu',
        prefix: str | None = None,
    ) -> None:
        iou_metrics = [iou_metrics] if isinstance(iou_metrics, str) else list(iou_metrics)
        super().__init__(ignore_index, iou_metrics, nan_to_num, beta, collect_device, output_dir, format_only, prefix)
        if unknown := [name for name in iou_metrics if name not in IOU_METRICS]:
            raise ValueError(f'iou_metrics: {", ".join(unknown)} is none of {", ".join(IOU_METRICS)}')
        if class_lists and 'mIoU' not in iou_metrics:
            raise ValueError("class_lists are means of the classes' IoU: add 'mIoU' to iou_metrics")
        if format_only and output_dir is None:
            raise ValueError('format_only=True writes predictions and scores nothing: it needs output_dir')
        if per_image is not None and format_only:
            raise ValueError('per_image is a table of scores, and format_only=True scores nothing: leave one out')
        if per_image is not None and (not Path(per_image).parent.is_dir() or Path(per_image).is_dir()):
            raise ValueError(f'per_image: {per_image} must be a file to write, in a folder that exists')
        if not keep_results:
            raise ValueError('keep_results=False: predictions stay where they are written; leave output_dir out')
        if ignore_index < 0:
            raise ValueError(f'ignore_index must not be negative, got {ignore_index}')
        if entropy not in (True, False, 'auto'):
            raise ValueError(f"entropy must be True, False or 'auto', got {entropy!r}")
        self.class_lists = {name: list(members) for name, members in (class_lists or {}).items()}
        for name, members in self.class_lists.items():
            if name in RESERVED_NAMES or '/' in name or '.' in name:
                raise ValueError(f'class_lists: {name!r} cannot be the name of a class list')
            if not members:
                raise ValueError(f'class_lists: {name!r} is empty')
        self.entropy = entropy
        self.domain_notes = dict(domain_notes or {})
        self.per_image = per_image
        self.confusion: dict[str, np.ndarray] = {}
        self._image_of_file: dict[Path, str] = {}

    @IoUMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Set the meta information of the data set and check the class lists against its classes."""
        self._dataset_meta = dataset_meta
        if dataset_meta is not None:
            classes = list(dataset_meta['classes'])
            if twice := sorted({name for name in classes if classes.count(name) > 1}):
                raise ValueError(
                    f'metainfo.classes has {", ".join(twice)} more than once, and scores go by name: give each class a '
                    'name of its own.'
                )
            for name in self.class_lists:
                self._class_indices(name)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the class areas of a batch of predictions."""
        for sample in data_samples:
            name = sample.get('img_path', 'a data sample without img_path')
            domain = sample.get('domain')
            if domain is None:
                raise ValueError(
                    f"{name}: the data sample has no 'domain'; add dict(type='TagDomain', domain=...) to the pipeline "
                    "and 'domain' to the meta_keys of PackSegInputs"
                )
            if self.output_dir is not None:
                self._write_prediction(sample)
            if self.format_only:
                continue
            prediction = sample['pred_sem_seg']['data']
            labeled = 'gt_sem_seg' in sample
            ground_truth = sample['gt_sem_seg']['data'].to(prediction.device) if labeled else None
            try:
                table = count_class_table(
                    prediction, ground_truth, len(self.dataset_meta['classes']), self.ignore_index
                ).numpy()
            except ValueError as error:
                label_file = sample.get('seg_map_path')
                raise ValueError(f'{name}{f" with {label_file}" if label_file else ""}: {error}') from error
            self.results.append(ImageResult(domain, name, table, labeled, self._entropy_of(sample, labeled)))

    def compute_metrics(self, results: list[ImageResult]) -> dict[str, float]:
        """Turn the areas of all images into scores, and print them as a table."""
        if self.format_only:
            print_log(f'The predictions are in {self.output_dir}.', logger='current')
            return {}
        domains = self._score_domains(results)
        self.confusion = {domain: found.table[:-1] for domain, found in domains.items() if found.labeled}
        if self.per_image is not None:
            self._write_per_image(results)
        classes = self.dataset_meta['classes']
        scores: dict[str, float] = {}
        table = PrettyTable()
        table.add_column('Class', list(classes))
        for domain, found in domains.items():
            scores |= {f'{domain}/{name}': _percent(value) for name, value in found.summary.items()}
            scores[f'{domain}/images'] = found.images
            for kind, values in found.per_class.items():
                table.add_column(f'{domain} {kind}', [_percent(value) for value in values])
                if kind != 'Acc':
                    scores |= {
                        f'{domain}/{kind}.{name}': _percent(value) for name, value in zip(classes, values, strict=True)
                    }
        print_log('per class results:\n' + table.get_string(), logger='current')
        for domain, found in domains.items():
            print_log(self._describe(domain, found), logger='current')
        for domain, found in domains.items():
            if role_of(domain) != 'source' and 'source' in domains:
                distance = np.abs(found.per_class['share'] - domains['source'].per_class['share']).sum() / 2
                scores[f'{domain}/share_distance'] = _percent(distance)
                print_log(
                    f'predicted class shares of {domain} differ from those of source by {_percent(distance)} %',
                    logger='current',
                )
        self._warn_about_nothing_to_score(scores)
        return scores

    def _score_domains(self, results: Sequence[ImageResult]) -> dict[str, DomainScores]:
        """Score each domain, and the mean of those of one kind; targets first: adaptation is for them."""
        names = sorted({result.domain for result in results})
        check_domains(names)
        scored: dict[str, DomainScores] = {}
        for role in ('target', 'source'):
            parts = {
                name: self._score([result for result in results if result.domain == name])
                for name in names
                if role_of(name) == role
            }
            if parts and role not in parts:
                scored[role] = _average(parts)
            scored |= parts
        return scored

    def _score(self, members: Sequence[ImageResult]) -> DomainScores:
        """Score the images of one domain."""
        table = sum(result.table for result in members)
        areas = class_areas(table)
        labeled = sum(result.labeled for result in members)
        summary: dict[str, float] = {}
        per_class: dict[str, np.ndarray] = {}
        if labeled > 0:
            union = areas[PREDICTION] + areas[GROUND_TRUTH] - areas[INTERSECTION]
            counts = (areas[INTERSECTION], union, areas[PREDICTION], areas[GROUND_TRUTH])
            # mmseg counts in float32, which does not hold every number of pixels
            found = self.total_area_to_metrics(
                *(torch.from_numpy(count.astype(np.float64)) for count in counts),
                self.metrics,
                self.nan_to_num,
                self.beta,
            )
            accuracy = found.pop('aAcc')
            for kind, values in found.items():
                summary[f'm{kind}'] = _mean(values)
                if kind == 'IoU':
                    summary |= {name: _mean(values[self._class_indices(name)]) for name in self.class_lists}
            summary['aAcc'] = float(accuracy)
            per_class |= found
        per_class['share'] = _ratio(areas[PREDICTION_EVERYWHERE], areas[PREDICTION_EVERYWHERE].sum())
        entropies = [result.entropy for result in members if result.entropy is not None]
        if entropies:
            summary['entropy'] = float(np.mean(entropies))
        return DomainScores(summary, per_class, len(members), labeled, table)

    def _write_per_image(self, results: Sequence[ImageResult]) -> None:
        """Write a line per image, ordered by domain and file."""
        columns = ['domain', 'image', 'mIoU', 'aAcc', *(f'IoU.{name}' for name in self.dataset_meta['classes'])]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(columns)
        for result in sorted(results, key=lambda result: (result.domain, result.image)):
            areas = class_areas(result.table)
            accuracy = _ratio(areas[INTERSECTION].sum(), areas[GROUND_TRUTH].sum())
            scores = [_percent(value) for value in (result.mean_iou, accuracy, *result.iou)]
            cells = ['' if np.isnan(score) else score for score in scores]
            writer.writerow([result.domain, result.image, *cells])
        write_text(self.per_image, text.getvalue())
        print_log(f'The scores of each image are in {self.per_image}.', logger='current')

    def _class_indices(self, list_name: str) -> list[int]:
        """Look up the indices of a class list's members."""
        classes = list(self.dataset_meta['classes'])
        indices = []
        for member in self.class_lists[list_name]:
            if isinstance(member, str) and member in classes:
                indices.append(classes.index(member))
            elif isinstance(member, int) and 0 <= member < len(classes):
                indices.append(member)
            else:
                raise ValueError(
                    f'class_lists: {list_name!r} has {member!r}, which is none of the {len(classes)} classes: '
                    f'{", ".join(classes)}'
                )
        return indices

    def _entropy_of(self, sample: dict, labeled: bool) -> float | None:
        """Measure the entropy of a prediction where it is asked for."""
        if self.entropy is False or (self.entropy == 'auto' and (labeled or 'seg_logits' not in sample)):
            return None
        if 'seg_logits' not in sample:
            raise ValueError(
                f'{sample.get("img_path")}: entropy=True needs seg_logits, which this prediction does not have'
            )
        return mean_normalized_entropy(sample['seg_logits']['data'])

    def prediction_file(self, domain: str, img_path: str) -> Path:
        """Name the file that an image's prediction is written to.

        Raises:
            ValueError: If it is that of another image.
        """
        path = Path(self.output_dir, domain, f'{Path(img_path).stem}.png')
        other = self._image_of_file.setdefault(path, img_path)
        if other != img_path:
            raise ValueError(
                f'The predictions of {other} and of {img_path} would both be written to {path}. Give their data sets '
                f"domains of their own, such as TagDomain(domain='{role_of(domain)}_a'), or rename the images."
            )
        return path

    def _write_prediction(self, sample: dict) -> None:
        """Write the predicted class ids as a PNG of 8 bits, in the way mmseg's IoUMetric does."""
        ids = sample['pred_sem_seg']['data']
        ids = ids.reshape(ids.shape[-2:]).cpu().numpy()
        if sample.get('reduce_zero_label', False):
            ids = ids + 1
        path = self.prediction_file(sample['domain'], sample['img_path'])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids.astype(np.uint8)).save(path)

    def _note(self, domain: str) -> str:
        """Return the remark on a domain: the config's, else what the data set says about the source's part."""
        part = (self.dataset_meta or {}).get('source_part') if domain == 'source' else None
        if domain in self.domain_notes:
            return f'; {self.domain_notes[domain]}'
        if part is None:
            return ''
        return '; seen in training' if part['seen_in_training'] else '; held out of training'

    def _describe(self, domain: str, found: DomainScores) -> str:
        """Say in one line what a domain scored, on what, and which classes are not in the means."""
        images = f'{found.images} images'
        if found.labeled == 0:
            images += ' without labels'
        elif found.labeled < found.images:
            images += f', {found.labeled} of them with labels'
        if found.parts:
            images += f'; mean of {", ".join(found.parts)}'
        text = f'{domain} ({images}{self._note(domain)}): '
        text += '  '.join(f'{name} {_percent(value)}' for name, value in found.summary.items())
        iou = found.per_class.get('IoU', np.empty(0))
        absent = [name for name, value in zip(self.dataset_meta['classes'], iou, strict=False) if np.isnan(value)]
        if absent:
            text += f'  (left out, neither in the ground truth nor predicted: {", ".join(absent)})'
        return text

    def _warn_about_nothing_to_score(self, scores: Mapping[str, float]) -> None:
        """Warn about means over no class at all."""
        empty = [name for name, value in scores.items() if '.' not in name and np.isnan(value)]
        if empty:
            print_log(
                f'{", ".join(empty)}: NaN, because none of the classes occurs in the ground truth or the predictions',
                logger='current',
                level=logging.WARNING,
            )


def _average(parts: Mapping[str, DomainScores]) -> DomainScores:
    """Average the scores of several domains; a score that some do not have, or have as NaN, over the others."""

    def mean(mappings: Sequence[Mapping], name: str) -> np.ndarray:
        values = np.array([mapping[name] for mapping in mappings if name in mapping])
        return np.apply_along_axis(_mean, 0, values)

    summaries, classes = ([getattr(part, kind) for part in parts.values()] for kind in ('summary', 'per_class'))
    return DomainScores(
        {name: float(mean(summaries, name)) for summary in summaries for name in summary},
        {name: mean(classes, name) for values in classes for name in values},
        sum(part.images for part in parts.values()),
        sum(part.labeled for part in parts.values()),
        sum(part.table for part in parts.values()),
        tuple(parts),
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide in float64; 0 / 0 is NaN without a warning."""
    with np.errstate(invalid='ignore'):
        return np.asarray(numerator, dtype=np.float64) / np.asarray(denominator, dtype=np.float64)


def _mean(values: np.ndarray) -> float:
    """Average the values that are not NaN; NaN if there are none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float('nan')


def _percent(fraction: float) -> float:
    """Turn a fraction into percent with two decimals."""
    return float(np.round(float(fraction) * 100, 2))
