"""Find where a run can go on."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from cda_mmseg.utils.atomic_file import text_file
from cda_mmseg.utils.finite import describe_non_finite
from cda_mmseg.utils.loading.errors import (
    CheckpointError,
    NonFiniteStateError,
    UnresumableCheckpointError,
)
from cda_mmseg.utils.loading.file_kind import kind_of_file
from cda_mmseg.utils.loading.safe_loading import read_checkpoint

POINTER = 'last_checkpoint'
CHECKPOINT_NAME = 'iter_{}.pth'
# What mmengine's Runner.resume reads.
_PARTS: dict[str, set[str]] = {
    'meta': {'epoch', 'iter'},
    'state_dict': set(),
    'message_hub': {'log_scalars', 'runtime_info', 'resumed_keys'},
    'optimizer': set(),
}
_MORE_THAN_ANY_RUN = 2**48
_CHECKPOINT_PATTERN = re.compile(r'iter_(\d+)\.pth')


@dataclass(frozen=True)
class ResumePoint:
    """Say where a run can go on, and with which identity.

    Attributes:
        path (str): The checkpoint.
        iteration (int): Iterations trained.
        seed (int | None): The run's seed, to be given to the runner before it builds its samplers.
        world_size (int | None): Number of processes that trained last; None in checkpoints of plain MMEngine.
        samples_consumed (dict[str, int] | None): Samples taken from each domain by all processes; None likewise.
    """

    path: str
    iteration: int
    seed: int | None = None
    world_size: int | None = None
    samples_consumed: dict[str, int] | None = None


def read_resume_point(path: str, trusted: bool = False) -> ResumePoint:
    """Check that training can go on from a checkpoint, down to the checksum of every tensor, and every number.

    Args:
        path (str): The checkpoint.
        trusted (bool): Whether code in the file may run.

    Returns:
        ResumePoint: What it says about its run.

    Raises:
        FileNotFoundError: If there is no such file.
        UntrustedCheckpointError: If it would run code.
        UnreadableCheckpointError: If it is empty, truncated, damaged or no checkpoint.
        UnresumableCheckpointError: If it holds weights but no training state, or one that no run can be in.
        NonFiniteStateError: If a weight or a state of an optimizer is NaN or infinite.
    """
    checkpoint = read_checkpoint(path, 'cpu', trusted, mmap=True)
    missing = [key for key in _PARTS if not isinstance(checkpoint.get(key), dict)]
    missing = missing or [f'{key}.{name}' for key, names in _PARTS.items() for name in names - checkpoint[key].keys()]
    if missing:
        raise UnresumableCheckpointError(
            f'{path} holds no training state ({", ".join(missing)} missing), so no run can resume from it. '
            'To start a new run from its weights, set load_from instead.'
        )
    meta = checkpoint['meta']
    if out_of_range := _out_of_range(meta):
        raise UnresumableCheckpointError(
            f'{path} cannot be resumed from: {out_of_range}. It is damaged or made by hand: use another checkpoint.'
        )
    if spoilt := describe_non_finite(checkpoint['state_dict'], checkpoint['optimizer']):
        raise NonFiniteStateError(f'{path} holds values that are not finite: {spoilt}. Use an earlier checkpoint.')
    return ResumePoint(path, meta['iter'], meta.get('seed'), meta.get('world_size'), meta.get('samples_consumed'))


def find_resume_point(work_dir: str, trusted: bool = False) -> ResumePoint | None:
    """Find the newest complete checkpoint of a run; what is damaged is reported and passed over.

    All processes of a distributed run get the main process's answer.

    Args:
        work_dir (str): The run's folder.
        trusted (bool): Whether code in its checkpoints may run.

    Returns:
        ResumePoint | None: Where to go on, or None if the folder holds no checkpoint.

    Raises:
        CheckpointError: If it holds checkpoints, but none of them can be used.
    """
    answer: list[ResumePoint | CheckpointError | None] = [None]
    if is_main_process():
        try:
            answer = [_search(work_dir, trusted)]
        except CheckpointError as error:
            answer = [error]
    broadcast_object_list(answer)
    if isinstance(answer[0], CheckpointError):
        raise answer[0]
    return answer[0]


def checkpoint_folder(work_dir: str, out_dir: str | None) -> str:
    """Return where a run's checkpoints lie: in its folder, or where mmengine's ``out_dir`` sends them."""
    if out_dir is None:
        return work_dir
    return os.path.join(os.path.abspath(out_dir), os.path.basename(os.path.abspath(work_dir)))


def out_dir_of(config: Mapping) -> str | None:
    """Return the ``out_dir`` of the checkpoint hook in a run's config."""
    return ((config.get('default_hooks') or {}).get('checkpoint') or {}).get('out_dir')


def points_into(work_dir: str, folder: str) -> bool:
    """Tell whether a run's own pointer file names a checkpoint in a folder, which runs may share by its name."""
    try:
        with text_file(os.path.join(work_dir, POINTER), 'r') as file:
            return os.path.dirname(file.read().strip()) == folder
    except OSError:
        return False


def checkpoint_names(work_dir: str) -> list[str]:
    """List a run's checkpoints in the order in which resuming should try them.

    The newest is the one with most iterations. But a folder may also hold longer runs' checkpoints that were there
    before this run began; what lies beyond the pointer file counts only if it was written after the checkpoint pointed
    to, which is what a kill between the writing of a checkpoint and of the pointer leaves.

    Args:
        work_dir (str): The run's folder.

    Returns:
        list[str]: File names.
    """
    if not os.path.isdir(work_dir):
        return []
    iterations = {
        name: int(match[1]) for name in os.listdir(work_dir) if (match := _CHECKPOINT_PATTERN.fullmatch(name))
    }
    newest_first = sorted(iterations, key=iterations.__getitem__, reverse=True)
    pointed = _pointed_checkpoint(work_dir)
    if pointed not in iterations:
        return newest_first
    written = {name: os.lstat(os.path.join(work_dir, name)).st_mtime_ns for name in newest_first}
    return [
        name for name in newest_first if iterations[name] <= iterations[pointed] or written[name] >= written[pointed]
    ]


def _search(work_dir: str, trusted: bool) -> ResumePoint | None:
    """Try a run's checkpoints, newest first."""
    names = checkpoint_names(work_dir)
    reasons = []
    for name in names:
        try:
            return read_resume_point(os.path.join(work_dir, name), trusted)
        except (CheckpointError, OSError) as error:
            print_log(f'Passed over: {error}', logger='current', level=logging.WARNING)
            reasons.append(str(error))
    if names:
        raise CheckpointError(
            f'None of the checkpoints in {work_dir} can be resumed from ({", ".join(names)}). Of the newest: '
            f'{reasons[0]} Bring back a sound copy of one, or remove them to start anew.'
        )
    return None


def _pointed_checkpoint(work_dir: str) -> str | None:
    """Read the pointer file."""
    try:
        path = os.path.join(work_dir, POINTER)
        if os.path.lexists(path) and not os.path.isfile(path):
            print_log(
                f'{path} should be a file but is {kind_of_file(path)}: the newest checkpoint is looked for without it.',
                logger='current',
                level=logging.WARNING,
            )
            return None
        with text_file(path, 'r') as file:
            return os.path.basename(file.read().strip())
    except OSError:
        return None


def _out_of_range(meta: dict) -> str | None:
    """Name a value in a checkpoint's meta data that no run can have."""
    counts = {f'meta.{key}': meta.get(key, 0) for key in ('iter', 'epoch')}
    consumed = meta.get('samples_consumed')
    if consumed is not None and not isinstance(consumed, dict):
        return f'meta.samples_consumed is {consumed!r}'
    counts |= {f'meta.samples_consumed.{domain}': count for domain, count in (consumed or {}).items()}
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MORE_THAN_ANY_RUN:
            return f'{name} is {value!r}'
    seed, processes = meta.get('seed'), meta.get('world_size')
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**32):
        return f'meta.seed is {seed!r}'
    if processes is not None and (not isinstance(processes, int) or processes < 1):
        return f'meta.world_size is {processes!r}'
    return None
