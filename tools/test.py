"""Evaluate a checkpoint on both domains: ``python tools/test.py configs/cl_gta2city.py CHECKPOINT``."""

import argparse
import os

from mmengine.config import ConfigDict, DictAction
from mmengine.runner import Runner

from cda_mmseg import launch
from cda_mmseg.engine.checkpointing import install_safe_loader


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument('--work-dir', help='folder for the log (default: work_dirs/<name of the config>)')
    parser.add_argument('--out', help='write the predicted class ids of every image into this folder, as PNG')
    parser.add_argument('--show-dir', help='paint predictions over the images, into this folder')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: three scales, flipped and not')
    parser.add_argument('--trust-checkpoint', action='store_true', help='let code in the checkpoint run: only your own')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='changes of config keys')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
    arguments = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    return arguments


def augment_test_time(config: ConfigDict) -> None:
    """Let every image be predicted at three scales, flipped and not, as mmseg's TTA does."""
    for dataset in config.test_dataloader.dataset.get('datasets', [config.test_dataloader.dataset]):
        steps = {step.type: step for step in dataset.pipeline}
        load, pack = steps.pop('LoadImage'), steps.pop('PackSegInputs')
        # Pictures that are evaluated at their own size are scaled by the ratio itself.
        size = steps.pop('Resize', ConfigDict()).get('scale')
        ratios = (0.75, 1.0, 1.25)
        scales = (
            [dict(scale=tuple(round(side * ratio) for side in size)) for ratio in ratios]
            if size
            else [dict(scale_factor=ratio) for ratio in ratios]
        )
        pack.meta_keys = (*pack.meta_keys, 'flip', 'flip_direction')
        dataset.pipeline = [
            load,
            dict(
                type='TestTimeAug',
                transforms=[
                    [dict(type='Resize', keep_ratio=True, **scale) for scale in scales],
                    [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
                    *[[step] for step in steps.values()],
                    [pack],
                ],
            ),
        ]
    config.model = ConfigDict(**config.tta_model, module=config.model)


def main() -> None:
    """Evaluate."""
    arguments = parse_arguments()
    config = launch.load_config(arguments.config, arguments.cfg_options, arguments.work_dir, arguments.launcher)
    install_safe_loader(arguments.trust_checkpoint)
    launch.start_processes_on_cpu(config)
    launch.limit_threads()
    config.load_from = arguments.checkpoint
    if arguments.out:
        config.test_evaluator.output_dir = arguments.out
    if arguments.show_dir:
        config.default_hooks.visualization.draw = True
        config.visualizer.save_dir = arguments.show_dir
    if arguments.tta:
        augment_test_time(config)
    runner = Runner.from_cfg(config)
    runner.test()
    launch.leave_processes(runner)


if __name__ == '__main__':
    main()
