"""Scoring one image on both metrics: DomainIoUMetric, all class lists at once, against mmseg's IoUMetric.

    python -m benchmarks.scoring [--repeats 15] [--device cpu] [--threads 2]

Both metrics get the same data sample through mmengine's ``Evaluator``, and the time includes the final table. They are
timed in turns, so that a change in the machine's load meets both.
"""

import argparse
import os

import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample
from mmseg.utils import get_classes
from torch.nn import functional as F

from benchmarks.measuring import busy, machine, medians_in_turns
from benchmarks.rows import Row, format_table
from cda_mmseg.evaluation import DomainIoUMetric

SIZE = (1024, 2048)
CLASS_LISTS = {
    'mIoU16': [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18],
    'mIoU13': [0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18],
}


def make_sample(size: tuple[int, int] = SIZE, labeled: bool = True, device: str = 'cpu') -> SegDataSample:
    """Make a prediction of smooth regions, four fifths of it right, and a ground truth with a twentieth ignored.

    Args:
        size (tuple[int, int]): Height and width.
        labeled (bool): Whether the sample has a ground truth.
        device (str): Where the prediction lies.

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
    return sample.to(device)


def rows(device: str = 'cpu', repeats: int = 15) -> list[Row]:
    """Measure everything.

    Args:
        device (str): 'cpu' or a GPU.
        repeats (int): Times each side is run.

    Returns:
        list[Row]: Scores, and what is said of predictions without labels.
    """
    labeled, unlabeled = make_sample(device=device), make_sample(labeled=False, device=device)
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
    seconds = medians_in_turns(
        {
            'mmseg': lambda: score('mmseg', labeled),
            'domain': lambda: score('domain', labeled),
            'without labels': lambda: score('domain', unlabeled),
        },
        repeats,
        device,
    )
    logger.setLevel(level)
    size = f'{SIZE[1]}×{SIZE[0]}'
    cases = [
        (f'scoring one {size} image, 19, 16 and 13 classes at once', 'domain', 0.2, 0.12),
        (f'label-free signals of one {size} image, entropy included', 'without labels', None, None),
    ]
    return [
        Row(
            name=name,
            against='mmseg IoUMetric',
            ratio=seconds[side] / seconds['mmseg'],
            must=must,
            aim=aim,
            ours=f'{1e3 * seconds[side]:.1f} ms',
            theirs=f'{1e3 * seconds["mmseg"]:.1f} ms',
        )
        for name, side, must, aim in cases
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of scoring against mmseg's IoUMetric.")
    parser.add_argument('--repeats', type=int, default=15, help='times each side is run')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2, help='threads of a CPU')
    options = parser.parse_args()
    reason = busy()
    if reason:
        parser.exit(1, f'{reason}\n')
    load = os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    print(format_table(rows(options.device, options.repeats)))
    print(
        f'\n{machine(options.device, options.threads)}; {options.repeats} repeats in turns, medians; '
        f'load {load:.2f} at the start.'
    )


if __name__ == '__main__':
    main()
