"""Source pictures in the look of the target's: low frequencies (FDA), and colour statistics."""

from abc import abstractmethod

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import DATASETS, TRANSFORMS

from ..single import single_data_sets
from .check_files import checked


class TargetStyle(BaseTransform):
    """Give a picture something of a target picture's look; its label stays right.

    Each sample draws a picture of its own, with the sample's own randomness, so that a resumed run draws the same ones.
    It is brought to the size of the source's picture.

    Required and changed key: ``img`` (H, W, 3) uint8 in BGR order.

    Args:
        target (dict): Config of the data set to draw from; of the config's key ``source_style`` by default that of
            ``target_dataloader``.
    """

    def __init__(self, target: dict) -> None:
        self.target = DATASETS.build(target)
        self.target.full_init()
        for _, part in single_data_sets(self.target, ''):
            part.pipeline.transforms[:] = checked(part.pipeline.transforms)

    def transform(self, results: dict) -> dict:
        """Change one picture."""
        drawn = self.target[int(np.random.randint(len(self.target)))]['inputs'].numpy().transpose(1, 2, 0)
        height, width = results['img'].shape[:2]
        if drawn.shape[:2] != (height, width):
            drawn = cv2.resize(np.ascontiguousarray(drawn), (width, height), interpolation=cv2.INTER_LINEAR)
        results['img'] = self.apply(results['img'], drawn)
        return results

    @abstractmethod
    def apply(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the source's picture in the look of the target's, all (H, W, 3) uint8."""


@TRANSFORMS.register_module()
class FourierAdaptation(TargetStyle):
    """Take the amplitudes of the lowest frequencies from a target picture (FDA, Yang and Soatto 2020).

    Those are the frequencies -b to b of rows and columns, b = floor(beta · min(H, W)): the window is symmetric at every
    size, so that the result is real, and values are clipped. beta = 0 takes the mean colour alone. The published betas
    are .01, .05 and .09.

    Args:
        target (dict): See :class:`TargetStyle`.
        beta (float): Half-width of the window as a share of the shorter side, at least 0 and below .5.

    Raises:
        ValueError: If ``beta`` is out of its range.
    """

    def __init__(self, target: dict, beta: float = 0.01) -> None:
        if not 0 <= beta < 0.5:
            raise ValueError(f'FourierAdaptation: beta must be at least 0 and below .5, got {beta!r}.')
        super().__init__(target)
        self.beta = beta

    def apply(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Exchange the amplitudes and keep the phases."""
        size = source.shape[:2]
        width = int(self.beta * min(size))
        # Of a real picture half of the columns say all; the negative rows stand at the end.
        window = np.ix_([*range(width + 1), *range(-width, 0)], range(width + 1))
        spectrum, other = (np.fft.rfft2(picture.astype(np.float32), axes=(0, 1)) for picture in (source, target))
        spectrum[window] = np.abs(other[window]) * np.exp(1j * np.angle(spectrum[window]))
        return _as_image(np.fft.irfft2(spectrum, s=size, axes=(0, 1)))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(beta={self.beta})'


@TRANSFORMS.register_module()
class ColourStatistics(TargetStyle):
    """Take mean and standard deviation of each channel from a target picture, in CIELAB.

    After Reinhard et al. 2001, who used another opponent space. A channel without any deviation takes the mean alone.
    """

    def apply(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Shift and scale the channels."""
        own, other = (cv2.cvtColor(one.astype(np.float32) / 255, cv2.COLOR_BGR2Lab) for one in (source, target))
        (mean, deviation), (new_mean, new_deviation) = ((one.mean((0, 1)), one.std((0, 1))) for one in (own, other))
        scale = np.divide(new_deviation, deviation, out=np.ones_like(deviation), where=deviation > 1e-3)
        changed = ((own - mean) * scale + new_mean).astype(np.float32)
        return _as_image(255 * cv2.cvtColor(changed, cv2.COLOR_Lab2BGR))

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _as_image(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
