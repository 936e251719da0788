"""Scoring one image on both metrics: DomainIoUMetric, all class lists at once, against mmseg's IoUMetric.

Run ``python benchmarks/scoring.py``. Both metrics get the same data sample through mmengine's ``Evaluator``, on the
CPU, and the time includes the final table. They are timed in turn, so that a change in the machine's load meets both.
"""

import statistics
import time
from collections.abc import Callable

import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample
from mmseg.utils import get_classes
from torch.nn import functional as F

from cda_mmseg.evaluation import DomainIoUMetric

SIZE = (1024, 2048)
REPEATS = 15
CLASS_LISTS = {
    'mIoU16': [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18],
    'mIoU13': [0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18],
}


def make_sample(size: tuple[int, int] = SIZE, labeled: bool = True) -> SegDataSample:
    """Make a prediction of smooth regions, four fifths of it right, and a ground truth with a twentieth ignored.

    Args:
        size (tuple[int, int]): Height and width.
        labeled (bool): Whether the sample has a ground truth.

    Returns:
        SegDataSample: As mmseg's segmentors return it.
    """
    generator = torch.Generator().manual_seed(0)
    regions = torch.randint(0, 20, (1, 1, size[0] // 64, size[1] // 64), generator=generator).float()
    ground_truth = F.interpolate(regions, size=size)[0].long()
    wrong = torch.rand(ground_truth.shape, generator=generator) < 0.2
    prediction = torch.where(wrong, torch.randint(0, 19, ground_truth.shape, generator=generator), ground_truth % 19)
    ground_truth[ground_truth == 19] = 255
    sample = SegDataSample(metainfo=dict(domain='target', img_path='image.png'))
    sample.pred_sem_seg = PixelData(data=prediction)
    if labeled:
        sample.gt_sem_seg = PixelData(data=ground_truth)
    else:
        sample.seg_logits = PixelData(data=torch.randn(19, *size, generator=generator))
    return sample


def time_in_turn(functions: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Time several functions in turn.

    Args:
        functions (dict[str, Callable]): What to time, by name.
        repeats (int): Number of rounds after the first, which is not counted.

    Returns:
        dict[str, float]: Median seconds, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def rows() -> list[dict]:
    """Measure.

    Returns:
        list[dict]: Rows with ``name``, ``against``, ``ratio``, and ``must`` and ``aim`` where there are any.
    """
    labeled, unlabeled = make_sample(), make_sample(labeled=False)
    evaluators = {
        'domain': Evaluator(DomainIoUMetric(class_lists=CLASS_LISTS)),
        'mmseg': Evaluator(IoUMetric()),
    }
    for evaluator in evaluators.values():
        evaluator.dataset_meta = dict(classes=get_classes('cityscapes'))

    def score(name: str, sample: SegDataSample) -> None:
        evaluators[name].process([sample])
        evaluators[name].evaluate(1)

    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    seconds = time_in_turn(
        {
            'mmseg': lambda: score('mmseg', labeled),
            'domain': lambda: score('domain', labeled),
            'without labels': lambda: score('domain', unlabeled),
        }
    )
    logger.setLevel(level)
    size = f'{SIZE[1]}×{SIZE[0]}'
    return [
        dict(
            name=f'scoring one {size} image, 19, 16 and 13 classes at once',
            against='mmseg IoUMetric',
            ratio=seconds['domain'] / seconds['mmseg'],
            must=0.2,
            aim=0.12,
        ),
        dict(
            name=f'label-free signals of one {size} image, entropy included',
            against='mmseg IoUMetric',
            ratio=seconds['without labels'] / seconds['mmseg'],
            must=None,
            aim=None,
        ),
    ]


def main() -> None:
    """Print the rows as a Markdown table."""
    print('| what | against | ratio | must | aim |\n| --- | --- | ---: | ---: | ---: |')
    for row in rows():
        limits = ' | '.join('' if row[key] is None else f'≤ {row[key]}' for key in ('must', 'aim'))
        print(f'| {row["name"]} | {row["against"]} | {row["ratio"]:.3f} | {limits} |')


if __name__ == '__main__':
    main()
