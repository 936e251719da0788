"""What a run predicts on the target's validation images: class table, and the worst and best of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mmcv
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import DATASETS
from rich.progress import track
from torch.utils.data import Dataset

from cda_mmseg.datasets.both_domains import select_role
from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.evaluation.domain_iou import DomainIoUMetric, ImageResult
from cda_mmseg.report.run import Run
from cda_mmseg.visualization.class_colors import color_classes
from cda_mmseg.visualization.reconstruction import reconstruct

SHOWN = 5
"""Pictures of each kind."""

Picture = np.ndarray
"""RGB, uint8, (H, W, 3)."""


@dataclass(frozen=True)
class Scored:
    """A run's network and what it predicts on the target's validation images.

    Attributes:
        run: The run.
        model: Its network.
        dataset: The images.
        results: What it scored on each, in the order of ``dataset``.
        indices: Which of ``dataset`` they are.
        classes: Names of the classes.
        palette: Their colours, RGB.
    """

    run: Run
    model: BaseSegmentor
    dataset: Dataset
    results: tuple[ImageResult, ...]
    indices: tuple[int, ...]
    classes: tuple[str, ...]
    palette: tuple[Sequence[int], ...]

    @property
    def is_labelled(self) -> bool:
        """bool: Whether any image has labels."""
        return any(result.labeled for result in self.results)

    @property
    def confusion(self) -> np.ndarray:
        """np.ndarray: int64 pixel counts (num_classes, num_classes), row: true class, column: predicted class."""
        return sum(result.table for result in self.results)[:-1]


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        caption: Its name and score.
        pictures: Title → picture.
    """

    caption: str
    pictures: dict[str, Picture]


def score_run(run: Run, data: Run, images: int | None, device: str, whole: bool) -> Scored:
    """Predict the target's validation images.

    Args:
        run: Whose newest checkpoint predicts.
        data: The run whose config says which images.
        images: How many at most, spread evenly; None for all.
        device: Device to predict on.
        whole: Whether the weights of its adaptations are needed too.

    Raises:
        CheckpointError: If the checkpoint cannot be used.
        ValueError: If there are no images.
    """
    init_default_scope(run.config.get('default_scope', 'mmseg'))
    model = init_trained_model(run.config, str(run.checkpoint), device, whole)
    if not data.config.get('val_dataloader'):
        raise ValueError(f'the config of {data.title} validates nothing')
    both = DATASETS.build(data.config.val_dataloader.dataset)
    dataset = select_role(both, 'target')
    number = min(images or len(dataset), len(dataset))
    indices = tuple(int(index) for index in np.linspace(0, len(dataset), number, endpoint=False))
    evaluator = data.config.get('val_evaluator') or {}
    metric = DomainIoUMetric(ignore_index=evaluator.get('ignore_index', 255) if isinstance(evaluator, dict) else 255)
    metric.dataset_meta = both.metainfo
    for index in track(indices, f'Predictions of {run.title}'):
        metric.process({}, [_predict(model, dataset[index]).to_dict()])
    classes, palette = both.metainfo['classes'], both.metainfo['palette']
    return Scored(run, model, dataset, tuple(metric.results), indices, tuple(classes), tuple(palette))


def pick(scored: Scored) -> dict[str, list[int]]:
    """Pick the worst, median and best images, by mIoU, or by entropy where there are no labels.

    Returns:
        Heading → positions in ``scored.results``. No image is in two groups.
    """
    results = scored.results
    if scored.is_labelled:
        measures = [result.mean_iou if result.labeled else np.nan for result in results]
        headings = ('Worst', 'Median', 'Best')
    else:
        measures = [-result.entropy for result in results]
        headings = ('Least certain', 'Median', 'Most certain')
    order = [int(position) for position in np.argsort(measures, kind='stable') if not np.isnan(measures[position])]
    count = min(SHOWN, -(-len(order) // 3))
    worst, rest = order[:count], order[count:]
    best, rest = rest[-count:], rest[:-count]
    middle = max(0, (len(rest) - count) // 2)
    groups = (worst, rest[middle : middle + count], best)
    return {heading: group for heading, group in zip(headings, groups, strict=True) if group}


def draw_rows(positions: Sequence[int], shown: Scored, others: Sequence[Scored]) -> Iterator[Row]:
    """Draw images with truth, predictions of all, error map of one, and its reconstruction if it has a generator.

    Args:
        positions: Which of ``shown.results``.
        shown: Whose errors are drawn.
        others: Whose predictions are drawn before.
    """
    for position in positions:
        result, item = shown.results[position], shown.dataset[shown.indices[position]]
        image = mmcv.imread(result.image, channel_order='rgb')
        pictures = {'picture': image}
        truth = item['data_samples'].gt_sem_seg.data[0].numpy() if result.labeled else None
        if truth is not None:
            pictures['truth'] = color_classes(truth, shown.palette)
        for scored in (*others, shown):
            ids = _predict(scored.model, item).pred_sem_seg.data[0].cpu().numpy()
            pictures[scored.run.name] = color_classes(ids, shown.palette)
        if truth is not None:
            pictures[f'errors of {shown.run.name}'] = error_map(image, truth, ids, len(shown.classes))
        if (rebuilt := reconstruct(shown.model, item)) is not None:
            pictures[f'reconstruction by {shown.run.name}'] = rebuilt
        score = f'mIoU {100 * result.mean_iou:.1f}' if result.labeled else f'entropy {100 * result.entropy:.1f} %'
        yield Row(f'{result.image.rpartition("/")[2]}: {score}', pictures)


def error_map(image: Picture, truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> Picture:
    """Paint wrong pixels red over a grey picture; what is not scored is black."""
    grey = np.repeat(image.mean(axis=2, keepdims=True) * 0.6 + 80, 3, axis=2)
    wrong = (truth != predicted)[..., None]
    painted = np.where(wrong, grey * 0.3 + np.array([178, 0, 16]), grey)
    scored = ((truth >= 0) & (truth < num_classes))[..., None]
    return np.where(scored, painted, 0).clip(0, 255).astype(np.uint8)


def _predict(model: BaseSegmentor, item: dict) -> object:
    with torch.no_grad():
        return model.test_step(pseudo_collate([item]))[0]
