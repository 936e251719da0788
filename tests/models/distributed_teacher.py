"""Self-training on two processes, each with images and masks of its own; started by torchrun.

Usage: distributed_teacher.py OUT
"""

import sys

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import distributed

from cda_mmseg.models.wrappers import PlayerDistributedDataParallel
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.adaptations.contract_model import config
from tests.models.distributed_training import share
from tests.models.segmentors.tiny_model import SEED, build, make_data, optimizer_config


def main() -> None:
    """Train on this rank, BatchNorm learning its statistics, and save what came out."""
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    distributed.init_process_group('gloo')
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    settings = config(
        self_training=dict(
            type='SelfTraining', threshold=0.21, momentum=0.6, jitter=dict(), masked_weight=0.5, block_size=16
        )
    )
    settings['backbone'] |= dict(norm_cfg=dict(type='BN'))
    model = build(settings)
    wrapped = PlayerDistributedDataParallel(model)
    optimizers = build_optim_wrapper(
        wrapped, dict(constructor='PlayerOptimWrapperConstructor', encoder=optimizer_config('SGD', lr=0.01)['encoder'])
    )
    logs = []
    for iteration in range(3):
        model.set_progress(TrainingProgress(iteration, 3, SEED, rank))
        logs.append(wrapped.train_step(share(make_data(iteration, batch_size=4), rank, world_size), optimizers))
    confidence = [log['self_training.confidence'] for log in logs]
    torch.save(dict(state=model.state_dict(), confidence=confidence), f'{sys.argv[1]}/rank{rank}.pth')
    distributed.destroy_process_group()


if __name__ == '__main__':
    main()
