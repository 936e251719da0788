"""Statistics of data that are computed once and kept on the disk."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import barrier, is_main_process
from mmengine.logging import MMLogger
from mmengine.utils import track_progress_rich

WORTH_A_BAR = 200


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/cda_mmseg``, by default ``~/.cache/cda_mmseg``."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'cda_mmseg'


def file_state(path: str) -> tuple[str, int, int]:
    """Return what changes when a file does: path, size in bytes and time of the last change in ns."""
    state = os.stat(path)
    return os.path.abspath(path), state.st_size, state.st_mtime_ns


def computed_once(
    name: str, depends_on: Iterable[object], compute: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Compute arrays, or read them where they were computed before.

    The main process computes, the others wait for its file.

    Args:
        name (str): What it is, for the file's name and the log.
        depends_on (Iterable[object]): Everything that the result follows from; its ``repr`` decides.
        compute (Callable[[], Mapping[str, np.ndarray]]): Computes the arrays.

    Returns:
        dict[str, np.ndarray]: The arrays.
    """
    digest = hashlib.sha256()
    for part in depends_on:
        digest.update(repr(part).encode())
    path = cache_folder() / f'{name}_{digest.hexdigest()[:32]}.npz'
    if is_main_process() and not zipfile.is_zipfile(path):  # nor cut off by a full disk or a crash
        MMLogger.get_current_instance().info(f'Computing {name}, once; kept in {path}.')
        write_whole(path, compute())
    barrier()
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def write_whole(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a ``.npz`` that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    incomplete = path.with_name(f'{path.stem}.{os.getpid()}.npz')
    np.savez(incomplete, **arrays)
    incomplete.replace(path)


def with_progress(function: Callable, tasks: Sequence[tuple], description: str, workers: int | None = None) -> list:
    """Call a function with each tuple of arguments, in several processes and with a progress bar if they are many.

    Args:
        function (Callable): A function of a module, which other processes can import.
        tasks (Sequence[tuple]): Its arguments.
        description (str): Text of the bar.
        workers (int | None): Processes; by default as many as there are cores.

    Returns:
        list: The results, in order.
    """
    if len(tasks) < WORTH_A_BAR:
        return [function(*task) for task in tasks]
    cores = (os.cpu_count() or 1) if workers is None else workers
    return track_progress_rich(function, tasks, nproc=cores, chunksize=16, description=description)
