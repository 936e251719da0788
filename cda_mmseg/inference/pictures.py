"""Find the pictures that a command line means, and what their predictions are called."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cda_mmseg.datasets.listing import PICTURES
from cda_mmseg.utils.arguments import UsageError

VIDEOS = frozenset(('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm'))


@dataclass(frozen=True)
class Picture:
    """A picture or a video to predict.

    Attributes:
        path: The file.
        name: What its predictions are called, below the folder of each kind: its own name and sub-folders, as PNG; as
            MP4 for a video, whose frames are in a folder of that name.
    """

    path: str
    name: str

    @property
    def is_video(self) -> bool:
        """Tell whether it is a video, by its ending."""
        return os.path.splitext(self.path)[1].lower() in VIDEOS


def find_pictures(inputs: Sequence[str], recursive: bool, out: str) -> list[Picture]:
    """List pictures in the order of the inputs, those of a folder by name, each once; videos as they are named.

    Args:
        inputs: Pictures, videos, folders, patterns such as ``'a/*/b.png'`` and ``.txt`` files with a path per line,
            relative ones below the folder of that file.
        recursive: Whether folders in folders are entered.
        out: Folder of the predictions; nothing in it is an input.

    Raises:
        FileNotFoundError: If an input does not exist or has no picture.
        UsageError: If predictions of two pictures would have one name, or an input lies in ``out``.
    """
    named: dict[str, Picture] = {}
    outside = Path(os.path.realpath(out))
    for given in inputs:
        found = [
            Picture(path, str(Path(name).with_suffix('.mp4' if Path(path).suffix.lower() in VIDEOS else '.png')))
            for path, name in _pictures_of(given, recursive)
            if outside not in Path(os.path.realpath(path)).parents
        ]
        if not found and outside in (real := Path(os.path.realpath(given)), *real.parents):
            raise UsageError(f'{given} lies in --out {out}, in which nothing is an input: choose another --out.')
        if not found:
            advice = ' Folders in it are entered with --recursive.' if os.path.isdir(given) and not recursive else ''
            raise FileNotFoundError(f'There is no picture {"in " if os.path.isdir(given) else ""}{given}.{advice}')
        for picture in found:
            other = named.setdefault(picture.name, picture)
            if os.path.realpath(other.path) != os.path.realpath(picture.path):
                raise UsageError(
                    f'{other.path} and {picture.path} would both be written to {picture.name}: predict one of them '
                    'into another folder.'
                )
    return list(named.values())


def _pictures_of(given: str, recursive: bool) -> Iterator[tuple[str, str]]:
    """List paths and names of one input."""
    if os.path.isdir(given):
        pattern = '**/*' if recursive else '*'
        for path in sorted(Path(given).glob(pattern)):
            if path.suffix.lower() in PICTURES and not path.is_dir():
                yield str(path), str(path.relative_to(given))
    elif os.path.exists(given) and given.endswith('.txt'):
        yield from _listed_pictures(given)
    elif os.path.exists(given):
        yield given, os.path.basename(given)
    else:
        parts = Path(given).parts
        fixed = next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts))
        for path in sorted(glob.glob(given, recursive=True)):
            if not os.path.isdir(path):
                yield path, str(Path(*Path(path).parts[fixed:]))


def _listed_pictures(given: str) -> Iterator[tuple[str, str]]:
    """List the pictures of a text file; those that do not exist fail when they are read."""
    try:
        lines = Path(given).read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{given} is no list of pictures in UTF-8 ({error}).') from error
    names = [line.strip() for line in lines if line.strip()]
    if not any(os.path.isfile(os.path.join(os.path.dirname(given), name)) for name in names):
        raise FileNotFoundError(f'{given} names no picture: write a path into each line, relative to the list.')
    for name in names:
        leaves = os.path.isabs(name) or os.path.normpath(name).startswith(os.pardir)
        yield os.path.join(os.path.dirname(given), name), os.path.basename(name) if leaves else os.path.normpath(name)
