"""BatchNorm adaptation on two processes; started by torchrun.

Usage: distributed_batch_norm.py OUT CONFIG FOLDER_OF_DATA
"""

import os
import sys

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import distributed

import cda_mmseg.registration  # noqa: F401
from cda_mmseg.engine.hooks import BatchNormAdaptationHook


def main() -> None:
    """Adapt the statistics as before a test, and save them."""
    torch.set_num_threads(1)
    distributed.init_process_group('gloo')
    os.chdir(sys.argv[3])
    config = Config.fromfile(sys.argv[2])
    config.launcher = 'pytorch'
    runner = Runner.from_cfg(config)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, BatchNormAdaptationHook))
    hook.before_test_epoch(runner)
    state = runner.model.module.state_dict()
    torch.save(state, f'{sys.argv[1]}/rank{distributed.get_rank()}.pth')
    distributed.destroy_process_group()


if __name__ == '__main__':
    main()
