"""The estimates of curriculum adaptation on two processes; started by torchrun.

Usage: distributed_curriculum.py OUT SOURCE TARGET
"""

import sys

import torch
from mmengine.registry import init_default_scope
from torch import distributed

from tests.models.adaptations.plain_step import config
from tests.models.adaptations.test_curriculum import SETTINGS, dataset
from tests.models.segmentors.tiny_model import build


def main() -> None:
    """Estimate on this rank, and save what came out."""
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    distributed.init_process_group('gloo')
    one = build(config(one=SETTINGS)).adaptations['one']
    source, target = sys.argv[2:]
    one.study(dict(source=dataset(source, 'LoadAnnotations'), target=dataset(target, 'LoadSuperpixels')))
    estimates = dict(distributions=one.distributions, landmarks=one.landmarks)
    torch.save(estimates, f'{sys.argv[1]}/rank{distributed.get_rank()}.pth')
    distributed.destroy_process_group()


if __name__ == '__main__':
    main()
