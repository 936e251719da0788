"""Dropout masks and noise that belong to a (player, domain) forward, not to the history of a run."""

from contextlib import AbstractContextManager

import torch

from cda_mmseg.engine.progress import TrainingProgress
from cda_mmseg.engine.randomness import seeded_torch, stable_hash


class RandomnessSlots:
    """Hand out seeded blocks: the same (seed, iteration, rank, slot) always has the same masks and noise.

    A forward that is run again within a step therefore repeats its masks, an independent implementation can repeat
    them, and a resumed run needs no generator state.

    Args:
        progress (TrainingProgress): Where the run stands.
        device (torch.device): Device of the networks.
    """

    def __init__(self, progress: TrainingProgress, device: torch.device) -> None:
        self.progress = progress
        self.device = device

    def __call__(self, slot: str) -> AbstractContextManager[None]:
        """Open the seeded block of a slot.

        Args:
            slot (str): Name of the forward, such as ``'generator/source'``.

        Returns:
            AbstractContextManager[None]: The block.
        """
        progress = self.progress
        return seeded_torch(stable_hash(progress.seed, progress.iteration, progress.rank, slot), self.device)
