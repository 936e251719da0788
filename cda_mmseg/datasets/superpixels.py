"""Superpixels of pictures, computed once."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cda_mmseg.datasets.cache import cache_folder, with_progress
from cda_mmseg.datasets.transforms.load_image import LoadImage

NO_SUPERPIXEL = 255
"""Value of pixels outside all superpixels, such as padding."""
MOST = 200


@dataclass(frozen=True)
class Superpixels:
    """Cut pictures into superpixels with scikit-image's SLIC.

    The maps are kept in ``$XDG_CACHE_HOME/cda_mmseg`` (``~/.cache`` by default), under the hash of the picture file's
    content.

    Attributes:
        segments (int): About how many per picture, 2 to 200.
        width (int): Width in pixels to which a wider picture is reduced before.
        compactness (float): SLIC's balance of place against colour.

    Raises:
        ValueError: If a number is out of its range.
    """

    segments: int = 100
    width: int = 512
    compactness: float = 10.0

    def __post_init__(self) -> None:
        if not 2 <= self.segments <= MOST or self.width < 16 or not self.compactness > 0:
            raise ValueError(
                f'Superpixels need 2 <= segments <= {MOST}, width >= 16 and compactness > 0, got {self.segments}, '
                f'{self.width} and {self.compactness}.'
            )

    def of(self, path: str) -> np.ndarray:
        """Return the map of a picture file, (h, w) uint8 of at most ``width`` columns, from 0 without gaps.

        Raises:
            ImportError: If scikit-image is not installed.
            ValueError: If the file is no picture.
        """
        kept = self._path(path)
        found = cv2.imread(str(kept), cv2.IMREAD_UNCHANGED) if kept.is_file() else None
        return self._compute(path, kept) if found is None else found

    def prepare(self, paths: Sequence[str], workers: int | None = None) -> None:
        """Compute the maps of many pictures in several processes, where they are not there yet."""
        missing = [path for path in paths if not self._path(path).is_file()]
        with_progress(_prepare, [(self, path) for path in missing], 'Computing superpixels', workers)

    def _path(self, path: str) -> Path:
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:32]
        return cache_folder() / f'superpixels_{self.segments}_{self.width}_{self.compactness}' / f'{content}.png'

    def _compute(self, path: str, kept: Path) -> np.ndarray:
        try:
            from skimage.segmentation import slic
        except ImportError as error:
            message = f"Superpixels need scikit-image: pip install 'cda_mmseg[superpixels]' ({error})"
            raise ImportError(message) from error
        image = LoadImage()({'img_path': path})['img'][:, :, ::-1]
        height, width = image.shape[:2]
        if width > self.width:
            size = self.width, max(1, round(height * self.width / width))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        found = slic(image, n_segments=self.segments, compactness=self.compactness, start_label=0)
        if found.max() >= NO_SUPERPIXEL:
            raise ValueError(f'{path} has {found.max() + 1} superpixels, more than a map holds; lower segments.')
        found = found.astype(np.uint8)
        kept.parent.mkdir(parents=True, exist_ok=True)
        incomplete = kept.with_name(f'{kept.stem}.{os.getpid()}.png')
        cv2.imwrite(str(incomplete), found)
        incomplete.replace(kept)
        return found


def _prepare(settings: Superpixels, path: str) -> None:
    settings.of(path)
