"""Train a segmentor: ``python tools/train.py configs/cl_gta2city.py``."""

from __future__ import annotations

import argparse
import os
from os.path import expanduser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train a segmentor.')
    parser.add_argument('config', type=expanduser, help='config file')
    parser.add_argument(
        '--work-dir', type=expanduser, help='folder of the run (default: work_dirs/<name of the config>)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        type=expanduser,
        metavar='CHECKPOINT',
        help='go on with a run, from this checkpoint or from the newest complete one in the work-dir; put it after the '
        'config',
    )
    parser.add_argument(
        '--branch-from',
        type=expanduser,
        metavar='CHECKPOINT',
        help='start from the weights, matching optimizer states and iteration of a checkpoint of another run; '
        'everything else is as the config says',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=['bfloat16', 'float16'],
        help='mixed precision (bfloat16 unless said otherwise); put it after the config',
    )
    parser.add_argument('--seed', type=int, help="seed of the run (default: the config's)")
    parser.add_argument('--logger', choices=['tensorboard'], help='log to <work-dir>/tensorboard too (an extra)')
    parser.add_argument('--deterministic', action='store_true', help='use deterministic kernels where they exist')
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='let code in checkpoints run: only for your own'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='changes of the config, as model.backbone.depth=19',
    )
    parser.add_argument(
        '--stop-with-parent',
        action='store_true',
        help="stop as on SIGTERM when the process that started this one is gone (a launcher's processes always do)",
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
    arguments = parser.parse_args()
    if arguments.branch_from and arguments.resume not in (None, 'auto'):
        parser.error('--resume CHECKPOINT and --branch-from name two checkpoints to start from: give one of them')
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    return arguments


def main() -> None:
    """Train."""
    arguments = parse_arguments()
    from cda_mmseg import launch
    from cda_mmseg.explained_errors import explained_errors
    from cda_mmseg.utils.loading import install_safe_loader

    with explained_errors():
        options = launch.read_options(arguments.cfg_options)
        config = launch.load_config(arguments.config, options, arguments.work_dir, arguments.launcher)
        install_safe_loader(arguments.trust_checkpoint)
        launch.start_process(config, arguments.stop_with_parent)
        with launch.run_lock(config):
            train(config, arguments)


def train(config: Config, arguments: argparse.Namespace) -> None:
    """Train in a folder that is this run's alone."""
    from mmengine.dist import is_main_process

    from cda_mmseg import launch

    if arguments.amp:
        launch.enable_mixed_precision(config, arguments.amp)
    if arguments.seed is not None:
        config.setdefault('randomness', {})['seed'] = arguments.seed
    if arguments.logger:
        config.visualizer.vis_backends = [*config.visualizer.vis_backends, dict(type='RunTensorboardBackend')]
    if arguments.branch_from:
        config.branch_from = arguments.branch_from
    if config.get('resume'):
        # mmengine's own way to say it; it takes the same safe path
        arguments.resume = arguments.resume or config.get('load_from') or 'auto'
    if arguments.resume and launch.resume_point(config, arguments.resume, arguments.trust_checkpoint) is None:
        print(f'No checkpoint in {config.work_dir}: the run starts at the beginning.')
    runner = launch.build_runner(config, arguments.deterministic)
    try:
        runner.train()
        if is_main_process():
            launch.report(runner)
    except SystemExit:
        # Stopped by a signal: all processes have saved and are about to exit.
        launch.leave_processes(runner)
        raise
    launch.leave_processes(runner)


if __name__ == '__main__':
    main()
