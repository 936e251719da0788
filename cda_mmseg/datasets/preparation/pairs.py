"""Copy one pair: read, encode, write, read back, name."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

import cv2
import mmcv
import numpy as np
import torch.utils.data
from mmengine.dataset import BaseDataset

from cda_mmseg.utils.atomic_file import replaced_when_complete

from .encoding import LabelEncoder, encode_image
from .record import share_lock
from .source import SUFFIXES
from .steps import load


@dataclass(frozen=True)
class Result:
    """What became of one pair.

    Attributes:
        entries (list[dict]): Its files, for the list of files; empty if there was a problem.
        problem (str): What was wrong, or ''.
        stop (bool): Whether nothing more can be written.
    """

    entries: list[dict]
    problem: str = ''
    stop: bool = False


class Pairs(torch.utils.data.Dataset):
    """All pairs of a source; asking for one writes its copy, so that torch's loader shares the work among processes.

    Args:
        source (BaseDataset): The source.
        out (str): Folder of the copy.
        transforms (Sequence[Callable]): Steps that read and resize, see :func:`.steps.build_steps`.
        labels (LabelEncoder, optional): Encodes labels; None to copy images alone.
        suffixes (Mapping[str, str]): Suffixes of the copy.
        image_format (str): 'png' or 'jpg'.
        quality (int): Quality of JPEGs.
    """

    def __init__(
        self,
        source: BaseDataset,
        out: str,
        transforms: Sequence[Callable],
        labels: LabelEncoder | None,
        suffixes: Mapping[str, str],
        image_format: str,
        quality: int,
    ) -> None:
        self.infos = [source.get_data_info(index) for index in range(len(source))]
        self.root, self.out = source.data_root, out
        self.transforms, self.labels = transforms, labels
        self.suffixes = {
            key: (getattr(source, name), suffixes[name]) for key, name in SUFFIXES.items() if name in suffixes
        }
        self.image_format, self.quality = image_format, quality
        self.wanted: Sequence[int] = range(len(self.infos))
        self.lock: IO[str] | None = None

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, position: int) -> Result:
        return self.write(self.wanted[position])

    def paths(self, index: int) -> dict[str, str]:
        """Name the files of a pair.

        Args:
            index (int): Number of the pair.

        Returns:
            dict[str, str]: Paths below the folder of the copy: ``img_path`` and, with labels, ``seg_map_path``.
        """
        return {
            key: os.path.relpath(self.infos[index][key], self.root).removesuffix(old) + new
            for key, (old, new) in self.suffixes.items()
        }

    def is_complete(self, index: int, known: Mapping[str, dict]) -> bool:
        """Tell whether the files of a pair are there as they were noted.

        Args:
            index (int): Number of the pair.
            known (Mapping[str, dict]): The list of files.

        Returns:
            bool: Whether they are.
        """
        return all(
            path in known and _size(os.path.join(self.out, path)) == known[path]['bytes']
            for path in self.paths(index).values()
        )

    def encode(self, index: int) -> tuple[dict[str, bytes], np.ndarray, np.ndarray | None]:
        """Read a pair of the source.

        Args:
            index (int): Number of the pair.

        Returns:
            tuple[dict[str, bytes], np.ndarray, np.ndarray | None]: Its files, and the image (H, W, 3) and the labels
            (H, W) that reading them must give.
        """
        image, labels = load(self.transforms, self.infos[index])
        files = dict(img_path=encode_image(image, self.image_format, self.quality))
        if self.image_format == 'jpg':
            image = mmcv.imfrombytes(files['img_path'], flag='color', backend='cv2')
        if self.labels is not None:
            files['seg_map_path'] = self.labels.encode(labels)
        return files, image, labels

    def write(self, index: int) -> Result:
        """Write a pair, read it back, and give it its names.

        Args:
            index (int): Number of the pair.

        Returns:
            Result: What became of it.
        """
        try:
            files, image, labels = self.encode(index)
        except Exception as error:  # a stock loader raises whatever its decoder does
            problem, path = str(error) or type(error).__name__, self.infos[index]['img_path']
            return Result([], problem if self.root in problem else f'{path} (or its label): {problem}')
        paths = self.paths(index)
        try:
            with ExitStack() as names:
                incomplete = {}
                for key, data in files.items():
                    path = os.path.join(self.out, paths[key])
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    incomplete[key] = names.enter_context(replaced_when_complete(path))
                    with open(incomplete[key], 'wb') as file:
                        file.write(data)
                self._compare({**self.infos[index], **incomplete}, image, labels)
        except Exception as error:
            return Result([], f'{os.path.join(self.out, paths["img_path"])}: {error}', stop=True)
        entries = [
            dict(path=paths[key], bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for key, data in files.items()
        ]
        entries[0]['size'] = [image.shape[1], image.shape[0]]
        return Result(entries)

    def _compare(self, info: dict, image: np.ndarray, labels: np.ndarray | None) -> None:
        """Read a written pair as training will, and compare."""
        read_image, read_labels = load(self.transforms, info)
        if not np.array_equal(read_image, image) or (labels is not None and not np.array_equal(read_labels, labels)):
            raise ValueError('the files read otherwise than they were written')


def start_worker(number: int) -> None:
    """Let a process of torch's loader work with one thread, and hold the copy's lock while it lives.

    Args:
        number (int): Number of the process.
    """
    cv2.setNumThreads(1)
    pairs = torch.utils.data.get_worker_info().dataset
    pairs.lock = share_lock(pairs.out)


def _size(path: str) -> int:
    """Size of a file, -1 where there is none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1
