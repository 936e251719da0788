"""Read and write videos."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import cv2
import numpy as np

from cda_mmseg.inference.files import named_when_complete

CODEC = 'mp4v'


class Video:
    """A video that OpenCV can read.

    Args:
        path: The file.

    Raises:
        ValueError: If it has no frames.
    """

    def __init__(self, path: str) -> None:
        self._capture = cv2.VideoCapture(path)
        if not self._capture.grab():
            raise ValueError('no video, or one without frames that OpenCV can read')
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or 25.0

    def frames(self, every: int) -> Iterator[tuple[int, np.ndarray]]:
        """Read every so many frames, once: number and pixels (H, W, 3), uint8 BGR.

        Raises:
            ValueError: After the last one, if the file says that there are more, by over a second.
        """
        number, is_there = 0, True
        while is_there:
            if number % every == 0:
                yield number, self._capture.retrieve()[1]
            is_there = self._capture.grab()
            number += 1
        claimed = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._capture.release()
        # some formats only estimate their number
        if number < claimed - self.rate:
            raise ValueError(f'{number} frames of {claimed:.0f} could be read: it is truncated or damaged')


@contextmanager
def video_file(path: str, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a video that is either complete or absent.

    Args:
        path: The file, MP4.
        rate: Frames per second.

    Raises:
        OSError: If not all of it could be written, as on a full disk.

    Yields:
        Function that adds a frame (H, W, 3), uint8 BGR, of the size of the first; odd sides grow by a white line.
    """
    writer, written = cv2.VideoWriter(), 0

    def add(frame: np.ndarray) -> None:
        nonlocal written
        height, width = frame.shape[:2]
        sides = (0, height % 2, 0, width % 2)
        frame = cv2.copyMakeBorder(frame, *sides, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        if not writer.isOpened():
            size = frame.shape[1::-1]
            if not writer.open(incomplete + '.mp4', cv2.VideoWriter_fourcc(*CODEC), rate, size):
                raise ValueError(f'OpenCV cannot write {path}.')
        writer.write(frame)
        written += 1

    os.makedirs(os.path.dirname(path), exist_ok=True)
    with named_when_complete(path) as incomplete:
        try:
            yield add
            writer.release()
            # OpenCV says nothing of a full disk
            if cv2.VideoCapture(incomplete + '.mp4').get(cv2.CAP_PROP_FRAME_COUNT) != written:
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            # OpenCV looks at the ending to choose the format
            os.replace(incomplete + '.mp4', incomplete)
        finally:
            writer.release()
            with suppress(FileNotFoundError):
                os.remove(incomplete + '.mp4')
