"""What the command-line tools share: from a config and options to a runner that can start."""

import argparse
import gc
import logging
import multiprocessing.util
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import distributed

import cda_mmseg.registration  # noqa: F401  for configs that do not ask for it
from cda_mmseg.engine.checkpointing import ResumePoint, find_resume_point, read_resume_point
from cda_mmseg.engine.checkpointing.resume_point import checkpoint_folder, out_dir_of, points_into
from cda_mmseg.engine.composition import check_option, compose
from cda_mmseg.engine.hooks import CollectionHook, check_what_is_loaded
from cda_mmseg.engine.runner import UDARunner
from cda_mmseg.engine.unread_keys import warn_of_unread_keys
from cda_mmseg.utils.arguments import UsageError
from cda_mmseg.utils.folder_lock import locked_folder
from cda_mmseg.utils.loading import UnresumableCheckpointError
from cda_mmseg.utils.parent import stop_with_parent

RANK_VARIABLES = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}
"""Launcher → where it tells a process its number."""


def read_options(options: Sequence[str]) -> dict:
    """Read the values of ``--cfg-options``, as mmengine's tools do.

    Args:
        options: Each ``KEY=VALUE``.

    Raises:
        UsageError: If one has no key, no ``=``, or a bracket without its other half.
    """
    for option in options:
        if not option.partition('=')[0] or '=' not in option:
            raise UsageError(f'--cfg-options {option}: write KEY=VALUE, without spaces around the =.')
    parser = argparse.ArgumentParser()
    parser.add_argument('--options', nargs='+', action=DictAction, default={})
    try:
        return parser.parse_args(['--options', *options] if options else []).options
    except AssertionError as error:
        raise UsageError(f'--cfg-options {" ".join(options)}: {error}.') from error


def load_config(path: str, options: dict | None, work_dir: str | None, launcher: str) -> Config:
    """Read a config file and lay the command line over it.

    Args:
        path (str): The config file.
        options (dict | None): Dotted keys and values of ``--cfg-options``.
        work_dir (str | None): Folder of the run; by default the config's, else ``work_dirs/<name of the config>``.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'.

    Returns:
        Config: The config of the run.

    Raises:
        FileNotFoundError: If there is no such config.
        KeyError: If an option names a key whose parents the config does not have, which a misspelling does.
        TypeError: If an option has one value for what has keys of its own.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config {path}. Configs are listed in configs/README.md.')
    config = Config.fromfile(path)
    for key, value in (options or {}).items():
        check_option(config, key, value)
    config.merge_from_dict(options or {})
    compose(config)
    config.launcher = launcher
    config.work_dir = work_dir or config.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return config


def usable_device(name: str | None) -> str:
    """Check a device, such as 'cuda:1'; None is the first GPU or, without one, 'cpu'.

    Raises:
        UsageError: If this machine has no such device.
    """
    if name is None:
        return 'cuda:0' if torch.cuda.is_available() else 'cpu'
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f'--device {name}: {str(error).splitlines()[0]}') from error
    return name


def enable_mixed_precision(config: Config, dtype: str) -> None:
    """Let every player's update run in mixed precision.

    Args:
        config (Config): The config to change.
        dtype (str): 'bfloat16' or 'float16'.
    """
    for wrapper in config.optim_wrapper.values():
        if isinstance(wrapper, dict):
            wrapper.update(type='AutocastOptimWrapper', dtype=dtype)


def resume_point(config: Config, resume: str, trusted: bool) -> ResumePoint | None:
    """Find where a run goes on, and make the config say so.

    Args:
        config (Config): The config to change: ``resume``, ``load_from`` and the seed of the run that goes on.
        resume (str): 'auto' for the newest complete checkpoint of ``work_dir``, or a checkpoint.
        trusted (bool): Whether code in the checkpoint may run.

    Returns:
        ResumePoint | None: Where to go on, None if 'auto' found no checkpoint.

    Raises:
        CheckpointError: If the checkpoint cannot be used, or none of the folder, or if it was trained for longer than
            ``train_cfg.max_iters``.
    """
    if resume == 'auto':
        out_dir = out_dir_of(config)
        folder = checkpoint_folder(config.work_dir, out_dir)
        # below out_dir another run may have a folder of this name
        is_own = out_dir is None or points_into(config.work_dir, folder)
        point = find_resume_point(folder, trusted) if is_own else None
    else:
        point = read_resume_point(resume, trusted)
    config.resume = False
    max_iters = config.train_cfg.get('max_iters')
    if point is not None and max_iters is not None and point.iteration > max_iters:
        raise UnresumableCheckpointError(
            f'{point.path} was trained for {point.iteration} iterations, but train_cfg.max_iters is {max_iters}. Set a '
            'larger one, resume from an earlier checkpoint, or evaluate this one.'
        )
    if point is not None:
        config.resume, config.load_from = True, point.path
        # The runner builds its samplers before it reads the checkpoint: the seed must be there by then.
        randomness = config.setdefault('randomness', {})
        if point.seed is not None:
            if randomness.get('seed') not in (None, point.seed):
                print_log(
                    f'The run goes on with its own seed {point.seed}, as {point.path} says; the seed '
                    f'{randomness["seed"]} that was asked for is left aside. For another seed start another run.',
                    logger='current',
                    level=logging.WARNING,
                )
            randomness['seed'] = point.seed
    return point


def run_lock(config: Config) -> AbstractContextManager[None]:
    """Keep a second training run out of the work_dir while this one is going on; the first process holds the lock.

    Raises:
        BlockingIOError: When entered, if a run is going on there.
    """
    # asked of the launcher, because the processes of a run on GPUs have not met yet
    rank = int(os.environ.get(RANK_VARIABLES.get(config.launcher, ''), 0))
    return locked_folder(config.work_dir, '--work-dir') if rank == 0 else nullcontext()


def start_process(config: Config, follow_parent: bool = False) -> None:
    """Prepare this process for the work, whether it is one of several or alone.

    Args:
        config: The config of the run, completed for processes without GPUs.
        follow_parent: Whether to stop when the process that started this one is gone; a launcher's processes always do.
    """
    # mmengine collects garbage for every data set, a fifth of a second each; what is imported stays anyway.
    gc.freeze()
    # Loader workers inherit this folder for their sockets. Each would make one of its own that nobody removes.
    multiprocessing.util.get_temp_dir()
    if follow_parent or config.launcher != 'none':
        stop_with_parent()
    _start_processes_on_cpu(config)
    _limit_threads()


def build_runner(config: Config, deterministic: bool = False) -> Runner:
    """Build the runner of a config.

    Args:
        config: The config of the run.
        deterministic: Whether to use deterministic kernels where they exist; torch names those that are not. mmengine's
            own switch stops at the first kernel that has no deterministic version, which adaptation needs on GPUs.
    """
    if deterministic:
        config.setdefault('randomness', {})['deterministic'] = True
        config.setdefault('env_cfg', {})['cudnn_benchmark'] = False
    # As mmseg's tools do; the stock runner would leave branch_from unread.
    runner = RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)
    if not isinstance(runner, UDARunner):
        check_what_is_loaded(runner)
        warn_of_unread_keys(runner)
    if deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
    if runner.distributed:
        runner.register_hook(CollectionHook())
    return runner


def _start_processes_on_cpu(config: Config) -> None:
    """Join the processes that torchrun started on a machine without GPUs.

    mmengine's launcher always asks for a CUDA device, so the group must exist before the runner. The runner is told to
    set up no environment of its own; everything else treats the run as distributed.
    """
    if config.launcher == 'pytorch' and not torch.cuda.is_available() and not distributed.is_initialized():
        config.setdefault('env_cfg', {}).setdefault('dist_cfg', {})['backend'] = 'gloo'
        distributed.init_process_group('gloo')


def report(runner: Runner) -> None:
    """Say where a run's files are, and how to evaluate what it has trained."""
    work_dir = Path(runner.work_dir)
    print(f'\nRun:             {work_dir}')
    if scalars := sorted(work_dir.glob('*/vis_data/scalars.json')):
        print(f'Scores, losses:  {scalars[-1]}')
    saved = [hook.last_ckpt for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.last_ckpt]
    if not saved:
        print('No checkpoint was saved: default_hooks.checkpoint.save_last=True saves where a run ends.')
        return
    # the config as this run has written it down, with what the command line changed
    config = work_dir / Path(runner.cfg.filename).name
    evaluate = [sys.orig_argv[0], str(Path(sys.argv[0]).with_name('test.py')), str(config), saved[-1]]
    print(f'Last checkpoint: {saved[-1]}')
    print(f'Evaluate with:   {shlex.join(evaluate)}')


def leave_processes(runner: Runner) -> None:
    """Take this process out of a distributed run that has come to its end; without effect on any other run.

    The distributed wrappers go first. A reducer that is the last owner of the process group destroys it without letting
    go of the interpreter's lock, which the group's threads may be waiting for: the process would never end.

    Not for runs that failed. They end faster by themselves: destroying the group waits for operations that another
    process may never join.

    Args:
        runner (Runner): The runner; it has no model afterwards.
    """
    if not distributed.is_initialized():
        return
    del runner.model
    gc.collect()
    distributed.destroy_process_group()


def _limit_threads() -> None:
    """Share the CPU cores between the processes of a run on one machine, unless OMP_NUM_THREADS says otherwise."""
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    if processes > 1 and 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
