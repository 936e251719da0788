"""Train a segmentor: ``python tools/train.py configs/cl_gta2city.py``."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from cda_mmseg import launch
from cda_mmseg.engine.checkpointing import install_safe_loader


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train a segmentor.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of the run (default: work_dirs/<name of the config>)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on with a run, from this checkpoint or from the newest complete one in the work-dir; put it after the '
        'config',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=['bfloat16', 'float16'],
        help='mixed precision (bfloat16 unless said otherwise); put it after the config',
    )
    parser.add_argument('--seed', type=int, help="seed of the run (default: the config's)")
    parser.add_argument('--deterministic', action='store_true', help='use deterministic kernels where they exist')
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='let code in checkpoints run: only for your own'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='changes of config keys, as model.backbone.depth=19'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
    arguments = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    return arguments


def report(config: Config) -> None:
    """Say where things are."""
    work_dir = Path(config.work_dir)
    pointer = work_dir / 'last_checkpoint'
    scalars = sorted(work_dir.glob('*/vis_data/scalars.json'))
    print(f'\nRun:             {work_dir}')
    if pointer.is_file():
        print(f'Last checkpoint: {pointer.read_text().strip()}')
    if scalars:
        print(f'Scores, losses:  {scalars[-1]}')
    print(f'Evaluate with:   python tools/test.py {Path(config.filename)} CHECKPOINT')


def main() -> None:
    """Train."""
    arguments = parse_arguments()
    config = launch.load_config(arguments.config, arguments.cfg_options, arguments.work_dir, arguments.launcher)
    install_safe_loader(arguments.trust_checkpoint)
    launch.start_processes_on_cpu(config)
    launch.limit_threads()
    if arguments.amp:
        launch.enable_mixed_precision(config, arguments.amp)
    if arguments.seed is not None:
        config.setdefault('randomness', {})['seed'] = arguments.seed
    if arguments.resume and launch.resume_point(config, arguments.resume, arguments.trust_checkpoint) is None:
        print(f'No checkpoint in {config.work_dir}: the run starts at the beginning.')
    runner = launch.deterministic_runner(config) if arguments.deterministic else Runner.from_cfg(config)
    try:
        runner.train()
        if is_main_process():
            report(config)
    except SystemExit:
        # Stopped by a signal: all processes have saved and are about to exit.
        launch.leave_processes(runner)
        raise
    launch.leave_processes(runner)


if __name__ == '__main__':
    main()
