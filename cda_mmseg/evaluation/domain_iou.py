"""Score a segmentor on both domains in one pass."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from PIL import Image
from prettytable import PrettyTable

from cda_mmseg.evaluation.class_areas import (
    GROUND_TRUTH,
    INTERSECTION,
    PREDICTION,
    PREDICTION_EVERYWHERE,
    count_class_areas,
)
from cda_mmseg.evaluation.entropy import mean_normalized_entropy

RESERVED_NAMES = ('mIoU', 'mAcc', 'aAcc', 'images', 'entropy', 'share_distance')


@dataclass(frozen=True)
class ImageResult:
    """Hold what one image contributes to the scores of its domain.

    Attributes:
        domain (str): Name of the domain that the image belongs to.
        areas (np.ndarray): int64 pixel counts, shape (4, num_classes), rows as :func:`count_class_areas` returns them.
        labeled (bool): Whether the image has a ground truth.
        entropy (float | None): Mean normalised entropy of the prediction in [0, 1], if it was asked for.
    """

    domain: str
    areas: np.ndarray
    labeled: bool
    entropy: float | None


@METRICS.register_module()
class DomainIoUMetric(BaseMetric):
    """Score source and target separately in one pass over a concatenated data set.

    Every data sample says in its meta information to which ``domain`` it belongs (``'source'`` or ``'target'``). All
    scores are percentages, rounded to two decimals like those of mmseg's ``IoUMetric``, and named after the domain:

    * ``target/mIoU``, ``target/mAcc``, ``target/aAcc`` and, per class, ``target/IoU.road``, with labels only;
    * one mean IoU per class list, such as ``target/mIoU16``: the IoU of every class is computed over all pixels and
      classes first and averaged over the list then, which is how 16- and 13-class scores on SYNTHIA are reported;
    * ``target/share.road``: the share of pixels predicted as this class, ignored and unlabeled pixels included;
    * ``target/share_distance``: total-variation distance between the predicted class shares of the target and of the
      source, 0 for equal shares, 100 for disjoint ones: an alarm that needs no labels;
    * ``target/entropy``: mean entropy of the predictions, 100 for uniform probabilities;
    * ``target/images``: the number of images.

    A class with neither ground truth nor prediction has no IoU: it is NaN, left out of the means, and named in the
    log. Samples without ``gt_sem_seg`` are normal: a domain without any labels gets the label-free scores alone.

    Args:
        ignore_index (int): Ground-truth id of pixels that are not scored, not negative.
        class_lists (Mapping[str, Sequence[int | str]] | None): Further means to report: name of the score → the
            indices or names of its classes.
        entropy (bool | str): Whether to measure the entropy of the predictions; ``'auto'`` does so for images
            without labels.
        domain_notes (Mapping[str, str] | None): Domain → a remark printed with its scores, such as
            ``'500 training images, seen in training'``.
        output_dir (str | None): Write the predicted class ids as ``<output_dir>/<domain>/<image name>.png``.
        collect_device (str): 'cpu' or 'gpu', the device that results of several processes are collected on.
        prefix (str | None): Prefix in front of the names of all scores.

    Raises:
        ValueError: If a class list is empty, has a reserved name, or names an unknown class; for a sample without a
            domain; for a prediction and ground truth that do not fit together (with the name of the file).
    """

    default_prefix = ''

    def __init__(
        self,
        ignore_index: int = 255,
        class_lists: Mapping[str, Sequence[int | str]] | None = None,
        entropy: bool | Literal['auto'] = 'auto',
        domain_notes: Mapping[str, str] | None = None,
        output_dir: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if ignore_index < 0:
            raise ValueError(f'ignore_index must not be negative, got {ignore_index}')
        if entropy not in (True, False, 'auto'):
            raise ValueError(f"entropy must be True, False or 'auto', got {entropy!r}")
        self.ignore_index = ignore_index
        self.class_lists = {name: list(members) for name, members in (class_lists or {}).items()}
        for name, members in self.class_lists.items():
            if name in RESERVED_NAMES or '/' in name or '.' in name:
                raise ValueError(f'class_lists: {name!r} cannot be the name of a class list')
            if not members:
                raise ValueError(f'class_lists: {name!r} is empty')
        self.entropy = entropy
        self.domain_notes = dict(domain_notes or {})
        self.output_dir = output_dir

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Set the meta information of the data set and check the class lists against its classes."""
        self._dataset_meta = dataset_meta
        if dataset_meta is not None:
            for name in self.class_lists:
                self._class_indices(name)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the class areas of a batch of predictions.

        Args:
            data_batch (dict): The batch from the data loader, not used.
            data_samples (Sequence[dict]): Predictions with ``pred_sem_seg``, ``domain`` and, where there are labels,
                ``gt_sem_seg``.
        """
        for sample in data_samples:
            name = sample.get('img_path', 'a data sample without img_path')
            domain = sample.get('domain')
            if domain is None:
                raise ValueError(
                    f"{name}: the data sample has no 'domain'; add dict(type='TagDomain', domain=...) to the pipeline "
                    "and 'domain' to the meta_keys of PackSegInputs"
                )
            prediction = sample['pred_sem_seg']['data']
            labeled = 'gt_sem_seg' in sample
            ground_truth = sample['gt_sem_seg']['data'].to(prediction.device) if labeled else None
            try:
                areas = count_class_areas(
                    prediction, ground_truth, len(self.dataset_meta['classes']), self.ignore_index
                ).numpy()
            except ValueError as error:
                label_file = sample.get('seg_map_path')
                raise ValueError(f'{name}{f" with {label_file}" if label_file else ""}: {error}') from error
            self.results.append(ImageResult(domain, areas, labeled, self._entropy_of(sample, labeled)))
            if self.output_dir is not None:
                self._write_prediction(sample)

    def compute_metrics(self, results: list[ImageResult]) -> dict[str, float]:
        """Turn the areas of all images into scores, and print them as a table.

        Args:
            results (list[ImageResult]): One entry per image.

        Returns:
            dict[str, float]: The scores, in percent, and the numbers of images.
        """
        scores: dict[str, float] = {}
        # Targets first: their score is what adaptation is for.
        domains = sorted({result.domain for result in results}, key=lambda domain: (domain == 'source', domain))
        shares: dict[str, np.ndarray] = {}
        classes = self.dataset_meta['classes']
        table = PrettyTable()
        table.add_column('Class', list(classes))
        summaries = []
        for domain in domains:
            members = [result for result in results if result.domain == domain]
            areas = sum(result.areas for result in members)
            labeled_images = sum(result.labeled for result in members)
            summary: dict[str, float] = {}
            absent: list[str] = []
            per_class: dict[str, np.ndarray] = {}
            if labeled_images > 0:
                iou, accuracy = _divide_areas(areas)
                absent = [name for name, value in zip(classes, iou, strict=True) if np.isnan(value)]
                summary['mIoU'] = _percent(_mean(iou))
                for name in self.class_lists:
                    summary[name] = _percent(_mean(iou[self._class_indices(name)]))
                summary['mAcc'] = _percent(_mean(accuracy))
                summary['aAcc'] = _percent(_ratio(areas[INTERSECTION].sum(), areas[GROUND_TRUTH].sum()))
                per_class['IoU'] = iou
                table.add_column(f'{domain} IoU', [_percent(value) for value in iou])
                table.add_column(f'{domain} Acc', [_percent(value) for value in accuracy])
            shares[domain] = _ratio(areas[PREDICTION_EVERYWHERE], areas[PREDICTION_EVERYWHERE].sum())
            per_class['share'] = shares[domain]
            table.add_column(f'{domain} share', [_percent(value) for value in shares[domain]])
            entropies = [result.entropy for result in members if result.entropy is not None]
            if entropies:
                summary['entropy'] = _percent(np.mean(entropies))
            summary['images'] = len(members)
            scores.update({f'{domain}/{name}': value for name, value in summary.items()})
            for kind, values in per_class.items():
                scores.update(
                    {f'{domain}/{kind}.{name}': _percent(value) for name, value in zip(classes, values, strict=True)}
                )
            summaries.append(self._describe(domain, summary, labeled_images, absent))
        for domain in domains:
            if domain != 'source' and 'source' in domains:
                distance = _percent(np.abs(shares[domain] - shares['source']).sum() / 2)
                scores[f'{domain}/share_distance'] = distance
                summaries.append(f'predicted class shares of {domain} differ from those of source by {distance} %')
        print_log('per class results:\n' + table.get_string(), logger='current')
        for text in summaries:
            print_log(text, logger='current')
        self._warn_about_nothing_to_score(scores)
        return scores

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

    def _write_prediction(self, sample: dict) -> None:
        """Write the predicted class ids as a PNG of 8 bits, in the way mmseg's IoUMetric does."""
        ids = sample['pred_sem_seg']['data']
        ids = ids.reshape(ids.shape[-2:]).cpu().numpy()
        if sample.get('reduce_zero_label', False):
            ids = ids + 1
        path = Path(self.output_dir, sample['domain'], f'{Path(sample["img_path"]).stem}.png')
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

    def _describe(self, domain: str, summary: Mapping[str, float], labeled_images: int, absent: Sequence[str]) -> str:
        """Say in one line what a domain scored, on what, and which classes are not in the means."""
        note = self._note(domain)
        images = f'{summary["images"]} images'
        if labeled_images == 0:
            images += ' without labels'
        elif labeled_images < summary['images']:
            images += f', {labeled_images} of them with labels'
        text = f'{domain} ({images}{note}): '
        text += '  '.join(f'{name} {value}' for name, value in summary.items() if name != 'images')
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


def _divide_areas(areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute IoU and accuracy per class as fractions, NaN where there is nothing to divide by."""
    union = areas[PREDICTION] + areas[GROUND_TRUTH] - areas[INTERSECTION]
    return _ratio(areas[INTERSECTION], union), _ratio(areas[INTERSECTION], areas[GROUND_TRUTH])


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
