"""Write files that are either complete or absent."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

INCOMPLETE = '.incomplete'


@contextmanager
def replaced_when_complete(path: str) -> Iterator[str]:
    """Give a file its name only once all of it is on the disk.

    A kill at any moment leaves the former file, or the new one, under ``path``: the bytes are flushed to the disk
    before the name moves to them, and the folder after that. A kill may leave a file that ends in ``.incomplete``; an
    error does not.

    Args:
        path (str): The file to write.

    Yields:
        str: Path beside it to write to.

    Raises:
        OSError: If the disk is full, the folder is read-only, ...; ``path`` is then as it was.
    """
    incomplete = path + INCOMPLETE
    try:
        yield incomplete
        _flush_to_disk(incomplete)
        os.replace(incomplete, path)
        # a rename is not durable before its folder is
        _flush_to_disk(os.path.dirname(path) or '.')
    except BaseException:
        with suppress(OSError):
            os.remove(incomplete)
        raise


def text_file(path: str, mode: str) -> TextIO:
    """Open a file as UTF-8 in which paths stand as the file system has them, whatever the locale."""
    return open(path, mode, encoding='utf-8', errors='surrogateescape', newline='')


def write_text(path: str, text: str) -> None:
    """Write a small text file atomically, as UTF-8; of file names that are none, their own bytes.

    Args:
        path (str): The file to write.
        text (str): What it holds afterwards.

    Raises:
        OSError: If it cannot be written; it is then as it was.
    """
    with replaced_when_complete(path) as incomplete, text_file(incomplete, 'w') as file:
        file.write(text)


def remove_incomplete(folder: str, endings: tuple[str, ...]) -> list[str]:
    """Remove what killed writers left behind.

    Args:
        folder (str): Where they wrote.
        endings (tuple[str, ...]): What the names of their files end in.

    Returns:
        list[str]: Names of the files removed.
    """
    left_behind = tuple(ending + INCOMPLETE for ending in endings)
    # a folder of that name is nobody's leftover; who writes there next will name it
    found = [entry.name for entry in os.scandir(folder) if entry.name.endswith(left_behind) and not entry.is_dir()]
    names = sorted(found)
    for name in names:
        os.remove(os.path.join(folder, name))
    return names


def _flush_to_disk(path: str) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot flush folders
        if not (error.errno == errno.EINVAL and os.path.isdir(path)):
            raise
    finally:
        os.close(descriptor)
