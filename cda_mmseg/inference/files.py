"""Write predictions so that what lies under its name is whole."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from cda_mmseg.inference.pictures import Picture
from cda_mmseg.utils.atomic_file import replaced_when_complete

FAST_COMPRESSION = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def write_png(path: str, pixels: np.ndarray) -> None:
    """Write pixels, and the folders that they lie in."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with named_when_complete(path) as incomplete, open(incomplete, 'wb') as file:
        file.write(cv2.imencode('.png', pixels, FAST_COMPRESSION)[1])


@contextmanager
def named_when_complete(path: str) -> Iterator[str]:
    """Do what ``replaced_when_complete`` does, and name the file when the disk is full."""
    with naming(path), replaced_when_complete(path) as incomplete:
        yield incomplete


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Name the file in errors of the system, which does not when the disk is full."""
    try:
        yield
    except OSError as error:
        reason = f'{os.strerror(error.errno)}; the same command goes on from here'
        raise OSError(error.errno, reason, path) from error


def pack(out: str, kinds: Sequence[str], pictures: Sequence[Picture], path: str) -> None:
    """Pack the predictions of pictures into a zip file, as they lie below ``out`` or, of one kind, below its folder.

    Args:
        out: The folder of the predictions.
        kinds: Which of them.
        pictures: The pictures.
        path: The zip file; it appears once it is whole.

    Raises:
        ValueError: If a name is no UTF-8.
    """
    root = os.path.join(out, kinds[0]) if len(kinds) == 1 else out
    with named_when_complete(path) as incomplete, zipfile.ZipFile(incomplete, 'w') as archive:
        for kind in kinds:
            for picture in pictures:
                file = Path(out, kind, picture.name)
                # of a video all frames
                for part in sorted(file.iterdir()) if file.is_dir() else [file]:
                    try:
                        archive.write(part, os.path.relpath(part, root))
                    except UnicodeEncodeError as error:
                        raise ValueError(f'{part}: zip files take names in UTF-8 alone: rename the picture.') from error
