"""Find where a run can go on."""

import logging
import os
import re
import zipfile
from dataclasses import dataclass

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from cda_mmseg.engine.checkpointing.errors import (
    CheckpointError,
    UnreadableCheckpointError,
    UnresumableCheckpointError,
)
from cda_mmseg.engine.checkpointing.safe_loading import read_checkpoint

POINTER = 'last_checkpoint'
CHECKPOINT_NAME = 'iter_{}.pth'
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
    """Check that training can go on from a checkpoint, down to the checksum of every tensor.

    Args:
        path (str): The checkpoint.
        trusted (bool): Whether code in the file may run.

    Returns:
        ResumePoint: What it says about its run.

    Raises:
        FileNotFoundError: If there is no such file.
        UntrustedCheckpointError: If it would run code.
        UnreadableCheckpointError: If it is empty, truncated, damaged or no checkpoint.
        UnresumableCheckpointError: If it holds weights but no training state.
    """
    is_zip = os.path.isfile(path) and zipfile.is_zipfile(path)
    # torch's reader does not look at checksums: a flipped bit in a weight would go unnoticed
    if is_zip and (damaged := _damaged_member(path)):
        raise UnreadableCheckpointError(
            f'{path} is damaged: the checksum of {damaged} is wrong. Use another one, or a sound copy of it.'
        )
    checkpoint = read_checkpoint(path, 'cpu', trusted, mmap=is_zip)
    missing = [key for key in ('meta', 'state_dict', 'message_hub', 'optimizer') if key not in checkpoint]
    meta = checkpoint.get('meta')
    if not missing and not (isinstance(meta, dict) and isinstance(meta.get('iter'), int)):
        missing = ['meta.iter']
    if missing:
        raise UnresumableCheckpointError(
            f'{path} holds no training state ({", ".join(missing)} missing), so no run can resume from it. '
            'To start a new run from its weights, set load_from instead.'
        )
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
    written = {name: os.stat(os.path.join(work_dir, name)).st_mtime_ns for name in newest_first}
    return [
        name for name in newest_first if iterations[name] <= iterations[pointed] or written[name] >= written[pointed]
    ]


def _search(work_dir: str, trusted: bool) -> ResumePoint | None:
    """Try a run's checkpoints, newest first.

    Args:
        work_dir (str): The run's folder.
        trusted (bool): Whether code in them may run.

    Returns:
        ResumePoint | None: The first that can be used; None if there is none at all.

    Raises:
        CheckpointError: If none can be used.
    """
    names = checkpoint_names(work_dir)
    for name in names:
        try:
            return read_resume_point(os.path.join(work_dir, name), trusted)
        except (CheckpointError, OSError) as error:
            print_log(f'Passed over: {error}', logger='current', level=logging.WARNING)
    if names:
        raise CheckpointError(
            f'None of the checkpoints in {work_dir} can be resumed from ({", ".join(names)}); the reasons are above. '
            'Bring back a sound copy of one, or remove them to start anew.'
        )
    return None


def _pointed_checkpoint(work_dir: str) -> str | None:
    """Read the pointer file.

    Args:
        work_dir (str): The run's folder.

    Returns:
        str | None: Name of the checkpoint in the same folder that it points to; the folder may have moved since.
    """
    try:
        with open(os.path.join(work_dir, POINTER)) as file:
            return os.path.basename(file.read().strip())
    except (OSError, UnicodeDecodeError):
        return None


def _damaged_member(path: str) -> str | None:
    """Compare a zip file with its checksums.

    Args:
        path (str): The file.

    Returns:
        str | None: Name of the first member that differs.
    """
    with zipfile.ZipFile(path) as archive:
        try:
            return archive.testzip()
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
            return str(error)
