"""Check an existing prepared copy against its list of files."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rich.progress import track

from .record import read_files, read_record


def verify(folder: str, workers: int = 1) -> list[str]:
    """Read every file of a prepared copy and compare its size and SHA-256 with what was written.

    Args:
        folder (str): The copy.
        workers (int): Number of files read at a time.

    Returns:
        list[str]: One line for every file that is missing or changed, sorted; empty if the copy is sound.

    Raises:
        ValueError: If the folder is no prepared copy, or an unfinished one.
    """
    record = read_record(folder)
    if record is None:
        raise ValueError(f'{folder} is no prepared copy')
    files = read_files(folder)
    if not record['complete']:
        raise ValueError(
            f'{folder} was never finished ({len(files)} files so far); start the command that prepared it again'
        )
    # Threads: hashing and reading leave Python's lock alone.
    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = pool.map(partial(_check, folder), *zip(*files.items(), strict=True))
        return sorted(filter(None, track(found, 'Comparing files', len(files))))


def _check(folder: str, path: str, entry: dict) -> str:
    """Compare one file; give what is wrong with it, or ''."""
    try:
        with open(os.path.join(folder, path), 'rb') as file:
            digest = hashlib.file_digest(file, 'sha256').hexdigest()
            size = file.tell()
    except OSError as error:
        return f'{path}: {error.strerror}'
    if size != entry['bytes']:
        return f'{path}: {size} bytes instead of {entry["bytes"]}'
    return '' if digest == entry['sha256'] else f'{path}: its content has changed'
