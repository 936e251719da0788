"""What the command-line tools share: from a config and options to a runner that can start."""

import difflib
import gc
import inspect
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import distributed

from cda_mmseg.engine.checkpointing import ResumePoint, find_resume_point, read_resume_point

READ_KEYS = frozenset(inspect.signature(Runner).parameters) - {'cfg'} | {
    # by mmengine's runner straight from the config
    *('runner_type', 'compile', 'model_wrapper_cfg', 'sync_bn', 'find_unused_parameters'),
    *('activation_checkpointing', 'efficient_conv_bn_eval', 'custom_imports'),
    # by mmseg's tools and inferencer, and by our loop
    *('tta_model', 'tta_pipeline', 'test_pipeline', 'target_dataloader'),
    # by a leaf that lays it over the network and then sets it to None, see configs/
    'method',
}
"""Keys at the top of a config that something reads."""


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
        KeyError: If an option names a key whose parents the config does not have, which a misspelling does, or if a key
            at the top of the config is a misspelling of one that is read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config {path}. Configs are listed in configs/README.md.')
    config = Config.fromfile(path)
    for key in options or {}:
        _check_parents_exist(config, key)
    config.merge_from_dict(options or {})
    _check_top_level(config)
    config.launcher = launcher
    config.work_dir = work_dir or config.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return config


def _check_top_level(config: Config) -> None:
    """Refuse misspelt keys; helpers of a config's own (``crop_size = ...``) that nobody reads are named once."""
    unread = sorted(set(config) - READ_KEYS)
    for key in unread:
        similar = difflib.get_close_matches(key, READ_KEYS, n=1, cutoff=0.85)
        if similar:
            raise KeyError(f'{config.filename}: nobody reads the key {key!r}. Did you mean {similar[0]!r}?')
    if unread:
        print_log(
            f'{config.filename}: nobody reads the keys {unread}; helpers of the config itself may stay.',
            logger='current',
            level=logging.WARNING,
        )


def _check_parents_exist(config: Config, key: str) -> None:
    node = config
    walked: list[str] = []
    for part in key.split('.')[:-1]:
        children = range(len(node)) if isinstance(node, Sequence) else node
        name = int(part) if part.isdecimal() and isinstance(node, Sequence) else part
        if name not in children:
            place = '.'.join(walked) or 'the config'
            raise KeyError(f'--cfg-options {key}: {place} has no {part!r}, only {sorted(map(str, children))}.')
        node = node[name]
        walked.append(part)


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
    """
    point = find_resume_point(config.work_dir, trusted) if resume == 'auto' else read_resume_point(resume, trusted)
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


def deterministic_runner(config: Config) -> Runner:
    """Build a runner that uses deterministic kernels where they exist; torch names those that are not.

    mmengine's own switch stops at the first kernel that has no deterministic version, which adaptation needs on GPUs.

    Args:
        config (Config): The config to change, and to build from.

    Returns:
        Runner: The runner.
    """
    config.setdefault('randomness', {})['deterministic'] = True
    config.setdefault('env_cfg', {})['cudnn_benchmark'] = False
    runner = Runner.from_cfg(config)
    torch.use_deterministic_algorithms(True, warn_only=True)
    return runner


def start_processes_on_cpu(config: Config) -> None:
    """Join the processes that torchrun started on a machine without GPUs.

    mmengine's launcher always asks for a CUDA device, so the group must exist before the runner. The runner is told to
    set up no environment of its own; everything else treats the run as distributed.

    Args:
        config (Config): The config of the run.
    """
    if config.launcher == 'pytorch' and not torch.cuda.is_available() and not distributed.is_initialized():
        config.setdefault('env_cfg', {}).setdefault('dist_cfg', {})['backend'] = 'gloo'
        distributed.init_process_group('gloo')


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


def limit_threads() -> None:
    """Share the CPU cores between the processes of a run on one machine, unless OMP_NUM_THREADS says otherwise."""
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    if processes > 1 and 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
