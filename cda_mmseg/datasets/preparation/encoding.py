"""How a prepared copy stores images and labels.

Reading speed decides. A PNG with neither compression nor filters is decoded some eight times as fast as a compressed
one and keeps what makes PNGs safe to train from: check sums, so that damage is noticed while training, and the names of
the raw files, so that configs need no other suffix. Labels compress to a hundredth at little cost.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ..transforms.load_label_ids import UNKNOWN, LoadLabelIds

FORMATS = ('png', 'jpg')
NOT_COMPRESSED, FAST_COMPRESSION = 0, 1
PROBE = 'probe.png.incomplete'
NO_ID = -1


def encode_image(image: np.ndarray, image_format: str, quality: int) -> bytes:
    """Encode an image.

    Args:
        image (np.ndarray): Pixels (H, W, 3), uint8, BGR.
        image_format (str): 'png', lossless, or 'jpg'.
        quality (int): Quality of a JPEG, 1..100.

    Returns:
        bytes: The file.

    Raises:
        ValueError: If the pixels are of another kind.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'the image loader gives {image.dtype} of shape {image.shape}; a copy holds uint8 (height, width, 3)'
        )
    if image_format == 'jpg':
        return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return encode_png(image, NOT_COMPRESSED)


def encode_png(pixels: np.ndarray, compression: int) -> bytes:
    """Encode a PNG that is decoded fast.

    Args:
        pixels (np.ndarray): Pixels (H, W) or (H, W, 3), uint8 or uint16.
        compression (int): Effort of zlib, 0..9.

    Returns:
        bytes: The file.
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, compression]
    # OpenCV 4.10 and older cannot choose: then the same pixels are decoded somewhat slower.
    if hasattr(cv2, 'IMWRITE_PNG_FILTER'):
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    return cv2.imencode('.png', pixels, options)[1].tobytes()


@dataclass(frozen=True)
class LabelEncoder:
    """Write labels in the encoding of their raw files, so that the loader of the raw files reads them.

    Attributes:
        encoding (str): 'index' (8-bit grey) or 'red16' (16-bit RGB, the id in red).
        ids (np.ndarray): A raw id of every label 0..255, int64; -1 where none leads to it.
    """

    encoding: str
    ids: np.ndarray

    def encode(self, labels: np.ndarray) -> bytes:
        """Encode a label map.

        Args:
            labels (np.ndarray): Labels (H, W), uint8, as the loader gives them.

        Returns:
            bytes: The PNG file.

        Raises:
            ValueError: If no raw id stands for one of the labels.
        """
        ids = self.ids[labels]
        if (ids == NO_ID).any():
            missing = np.unique(labels[ids == NO_ID])
            raise ValueError(f'no raw id stands for the labels {", ".join(map(str, missing))}: add one to id_map')
        return encode_png(_as_raw(ids, self.encoding), FAST_COMPRESSION)


def label_encoder(loader: Callable, info: Mapping, folder: str) -> LabelEncoder:
    """Find out which raw ids a label loader turns into which labels, by letting it read a file with all of them.

    Args:
        loader (Callable): ``LoadLabelIds`` or mmseg's ``LoadAnnotations``.
        info (Mapping): Entry of the data set, for its subset of classes.
        folder (str): Where the file may lie for the moment.

    Returns:
        LabelEncoder: The inverse; of several ids with one label the smallest.
    """
    encoding = loader.encoding if isinstance(loader, LoadLabelIds) else 'index'
    candidates = np.flatnonzero(loader.table != UNKNOWN) if isinstance(loader, LoadLabelIds) else np.arange(256)
    path = os.path.join(folder, PROBE)
    try:
        with open(path, 'wb') as file:
            file.write(encode_png(_as_raw(np.stack([candidates, candidates]), encoding), FAST_COMPRESSION))
        labels = loader(dict(info, seg_map_path=path, seg_fields=[]))['gt_seg_map'][0]
    finally:
        os.remove(path)
    ids = np.full(256, NO_ID)
    ids[labels[::-1]] = candidates[::-1]
    return LabelEncoder(encoding, ids)


def _as_raw(ids: np.ndarray, encoding: str) -> np.ndarray:
    """Put ids (H, W) where an encoding keeps them."""
    if encoding == 'index':
        return ids.astype(np.uint8)
    pixels = np.zeros((*ids.shape, 3), np.uint16)
    pixels[:, :, 2] = ids  # OpenCV's order: blue, green, red
    return pixels
