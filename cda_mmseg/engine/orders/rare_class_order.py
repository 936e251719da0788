"""Rare-class sampling (DAFormer, Hoyer et al. 2022, section 3.3)."""

import numpy as np
from mmengine.logging import MMLogger
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from cda_mmseg.datasets.class_counts import count_classes
from cda_mmseg.engine.orders.sample_order import SampleOrder
from cda_mmseg.utils.randomness import stable_hash

FEW_CLASSES = 3.0


@DATA_SAMPLERS.register_module()
class RareClassOrder(SampleOrder):
    """Draw a class, the rarer the likelier, then a sample with enough of it, cropped such that enough remains.

    A class c with share f_c of all labelled pixels is drawn with P(c) ∝ exp((1 - f_c) / temperature), among the classes
    that some image has more than ``min_pixels`` of. The pixels of the classes are counted once and kept on the disk.

    As in DAFormer f_c and ``min_pixels`` are those of the label files, before any resizing; a crop is drawn anew up to
    ``max_draws`` times until it has more than ``min_pixels * min_crop_share`` of the class.

    Args:
        dataset (Dataset): The labelled source.
        seed (int): Seed of the order.
        temperature (float): DAFormer's .01 draws classes below some 4 % of the pixels only; with few classes use .05 to
            .1.
        min_pixels (int): Pixels of a class that an image must have more than.
        min_crop_share (float): Share of ``min_pixels`` that must be left in the crop.
        max_draws (int): Crops drawn at most.

    Raises:
        ValueError: If a number is out of its range, or no image has enough pixels of any class.
    """

    def __init__(
        self,
        dataset: Dataset,
        seed: int,
        temperature: float = 0.01,
        min_pixels: int = 3000,
        min_crop_share: float = 0.5,
        max_draws: int = 10,
    ) -> None:
        super().__init__(dataset, seed)
        if not temperature > 0 or min_pixels < 0 or min_crop_share < 0 or max_draws < 1:
            raise ValueError(
                'RareClassOrder needs temperature > 0, min_pixels >= 0, min_crop_share >= 0 and max_draws >= 1, got '
                f'{temperature}, {min_pixels}, {min_crop_share} and {max_draws}.'
            )
        self.min_crop_pixels = min_pixels * min_crop_share
        self.max_draws = max_draws
        counts = count_classes(dataset)
        self._images = [np.flatnonzero(counts[:, number] > min_pixels) for number in range(counts.shape[1])]
        present = np.array([len(images) > 0 for images in self._images])
        if not present.any():
            raise ValueError(
                f'RareClassOrder: no image has more than min_pixels={min_pixels} pixels of any class; lower it.'
            )
        self.probabilities = class_probabilities(counts.sum(axis=0), temperature, present)
        self._report(dataset.metainfo.get('classes') or range(len(present)), temperature)

    def _report(self, classes: tuple, temperature: float) -> None:
        drawn = sorted(zip(self.probabilities, classes, strict=True), key=lambda pair: -pair[0])
        text = ', '.join(f'{name} {share:.3f}' for share, name in drawn if share >= 0.0005)
        logger = MMLogger.get_current_instance()
        logger.info(f'Rare-class sampling draws a class with the probabilities: {text}; the others hardly ever.')
        shares = self.probabilities[self.probabilities > 0]
        if np.exp(-(shares * np.log(shares)).sum()) < min(FEW_CLASSES, len(shares)):
            logger.warning(
                f'RareClassOrder: at temperature={temperature} nearly all samples are drawn for the sake of two '
                'classes. Raise it, for instance to .05.'
            )

    def _class_at(self, position: int) -> tuple[int, np.random.Generator]:
        generator = np.random.Generator(np.random.Philox(stable_hash(self.seed, 'rare class', position)))
        return int(generator.choice(len(self.probabilities), p=self.probabilities)), generator

    def index(self, position: int) -> int:
        """Return the index of the sample at a global position, at least 0."""
        drawn, generator = self._class_at(position)
        return int(generator.choice(self._images[drawn]))

    def accepts(self, sample: dict, position: int) -> bool:
        """Tell whether enough of the class for which the sample was drawn is in the crop."""
        drawn, _ = self._class_at(position)
        return int((sample['data_samples'].gt_sem_seg.data == drawn).sum()) > self.min_crop_pixels


def class_probabilities(pixels: np.ndarray, temperature: float, present: np.ndarray) -> np.ndarray:
    """Compute P(c) ∝ exp((1 - f_c) / temperature) among the classes that are present.

    Args:
        pixels (np.ndarray): Pixels per class, (C,).
        present (np.ndarray): Whether a class can be drawn, (C,), bool.

    Returns:
        np.ndarray: Probabilities (C,).
    """
    exponents = np.where(present, (1 - pixels / pixels.sum()) / temperature, -np.inf)
    weights = np.exp(exponents - exponents.max())
    return weights / weights.sum()
