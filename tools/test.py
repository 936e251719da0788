"""Evaluate a checkpoint on both domains: ``python tools/test.py configs/cl_gta2city.py CHECKPOINT``."""

import argparse
import os
from os.path import expanduser


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint.')
    parser.add_argument('config', type=expanduser, help='config file')
    parser.add_argument('checkpoint', type=expanduser, help='checkpoint file or address')
    parser.add_argument(
        '--work-dir', type=expanduser, help='folder for the log (default: work_dirs/<name of the config>)'
    )
    parser.add_argument(
        '--out', type=expanduser, help='write the predicted class ids of every image into this folder, as PNG'
    )
    parser.add_argument('--per-image', type=expanduser, metavar='FILE.csv', help='write the scores of every image')
    parser.add_argument('--show-dir', type=expanduser, help='paint predictions over the images, into this folder')
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation, by default three scales, flipped and not'
    )
    parser.add_argument('--trust-checkpoint', action='store_true', help='let code in the checkpoint run: only your own')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes of config keys')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
    arguments = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    return arguments


def main() -> None:
    """Evaluate."""
    arguments = parse_arguments()
    from cda_mmseg.explained_errors import explained_errors

    with explained_errors():
        evaluate(arguments)


def evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate, with errors as they are raised."""
    from cda_mmseg import launch
    from cda_mmseg.datasets.test_time_augmentation import augment_config
    from cda_mmseg.utils.loading import install_safe_loader

    options = launch.read_options(arguments.cfg_options)
    config = launch.load_config(arguments.config, options, arguments.work_dir, arguments.launcher)
    install_safe_loader(arguments.trust_checkpoint)
    launch.start_process(config)
    config.load_from, config.resume = arguments.checkpoint, False
    if arguments.out:
        config.test_evaluator.output_dir = arguments.out
    if arguments.per_image:
        config.test_evaluator.per_image = arguments.per_image
    if arguments.show_dir:
        config.default_hooks.visualization.draw = True
        config.visualizer.save_dir = arguments.show_dir
    if arguments.tta:
        augment_config(config)
    runner = launch.build_runner(config)
    runner.test()
    launch.leave_processes(runner)


if __name__ == '__main__':
    main()
