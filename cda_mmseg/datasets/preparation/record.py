"""What a prepared copy says about itself: what it was made from and how, and which files it holds."""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from cda_mmseg.utils.atomic_file import write_text

RECORD = 'prepared.json'
FILES = 'prepared_files.jsonl'
LOCK = 'prepared.lock'
VERSION = 1
WAIT_FOR_LOCK = 30.0
"""Seconds; the processes of a killed run notice within five that it is gone."""


def plain(value: object) -> object:
    """Turn a config value into what JSON gives back: lists for tuples, strings for keys.

    Args:
        value (object): Numbers, strings, sequences and mappings of them.

    Returns:
        object: The same in JSON's types.
    """
    return json.loads(json.dumps(value))


def read_record(folder: str) -> dict | None:
    """Read what a folder says about itself.

    Returns:
        dict | None: The record, None if the folder is no prepared copy.

    Raises:
        ValueError: If the record is damaged or of a later version.
    """
    path = os.path.join(folder, RECORD)
    try:
        with open(path) as file:
            record = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ValueError(f'{path}: damaged record ({error}); remove the folder and prepare it again') from error
    if record['version'] != VERSION:
        raise ValueError(f'{path}: written by another version of this tool; remove the folder and prepare it again')
    return record


def write_record(folder: str, record: dict) -> None:
    """Write what a folder says about itself, atomically.

    Args:
        record (dict): What it says.
    """
    write_text(os.path.join(folder, RECORD), json.dumps(dict(record, version=VERSION), indent=2) + '\n')


def read_files(folder: str) -> dict[str, dict]:
    """Read the list of complete files.

    Args:
        folder (str): A prepared copy.

    Returns:
        dict[str, dict]: ``bytes`` and ``sha256`` by path below the folder; images have ``size`` (width, height) too.

    Raises:
        ValueError: If the list is damaged.
    """
    path = os.path.join(folder, FILES)
    files = {}
    with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
            # A kill may have cut the last line; its file counts as not written.
            if line.endswith(b'\n'):
                try:
                    entry = json.loads(line)
                    files[entry.pop('path')] = entry
                except (ValueError, KeyError) as error:
                    raise ValueError(
                        f'{path}, line {number}: damaged ({error}); remove this file and prepare the copy again'
                    ) from error
    return files


@contextmanager
def open_files(folder: str) -> Iterator[IO[bytes]]:
    """Open the list of complete files to add to it.

    Args:
        folder (str): A prepared copy.

    Yields:
        IO[bytes]: The list, without a line that a kill had cut.
    """
    with open(os.path.join(folder, FILES), 'a+b') as file:
        file.seek(0)
        file.truncate(file.read().rfind(b'\n') + 1)
        yield file


def add_files(file: IO[bytes], entries: Iterable[dict]) -> None:
    """Note complete files.

    Args:
        file (IO[bytes]): What :func:`open_files` gave.
        entries (Iterable[dict]): ``path``, ``bytes``, ``sha256`` and, of images, ``size``.
    """
    for entry in entries:
        file.write(json.dumps(entry).encode() + b'\n')
    file.flush()


@contextmanager
def alone(folder: str) -> Iterator[None]:
    """Keep other runs of the tool away from a folder, as long as any process of this one lives.

    Args:
        folder (str): A prepared copy.

    Yields:
        None: While no other run writes there.

    Raises:
        BlockingIOError: If another run does.
    """
    with open(os.path.join(folder, LOCK), 'w') as file:
        deadline = time.monotonic() + WAIT_FOR_LOCK
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BlockingIOError(
                        f'{folder}: another process is preparing this copy; wait for it, or stop it'
                    ) from None
                time.sleep(0.2)
        # The worker processes share it from here on.
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def share_lock(folder: str) -> IO[str]:
    """Take part in :func:`alone` from a worker process.

    Args:
        folder (str): A prepared copy.

    Returns:
        IO[str]: What to keep open while working.
    """
    file = open(os.path.join(folder, LOCK), 'w')  # noqa: SIM115
    fcntl.flock(file, fcntl.LOCK_SH)
    return file
