"""What one training step works on."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from cda_mmseg.models.players import Domain
from cda_mmseg.models.randomness_slots import RandomnessSlots


@dataclass(frozen=True)
class Step:
    """Bundle the batch, the seeds and the means of one training step.

    Attributes:
        batches (dict[str, dict]): Preprocessed ``inputs`` (N, 3, H, W) and ``data_samples`` per domain.
        slots (RandomnessSlots): Seeds of dropout and noise.
        optim_wrapper (OptimWrapperDict): One optimizer wrapper per trained player.
        forwards (Mapping[str, nn.Module]): The module to call for the player that is being updated: the player itself,
            or its DDP wrapper.
    """

    batches: dict[Domain, dict]
    slots: RandomnessSlots
    optim_wrapper: OptimWrapperDict
    forwards: Mapping[str, nn.Module]

    @property
    def images(self) -> dict[Domain, Tensor]:
        """dict[str, Tensor]: Normalised images (N, 3, H, W) per domain."""
        return {domain: batch['inputs'] for domain, batch in self.batches.items()}

    @property
    def files(self) -> list[str]:
        """list[str]: The image files of the batch."""
        return [sample.metainfo.get('img_path') for batch in self.batches.values() for sample in batch['data_samples']]

    def context(self, player: str) -> AbstractContextManager[None]:
        """Open the block in which a player's update computes: mixed precision, and no reduction while accumulating.

        Args:
            player (str): The player that is being updated.

        Returns:
            AbstractContextManager[None]: The block.
        """
        return self.optim_wrapper[player].optim_context(self.forwards[player])

    @staticmethod
    def to_log(values: Mapping[str, Tensor]) -> dict[str, float]:
        """Read all logged values with one transfer; reading each on its own would stop the device as many times.

        Args:
            values (Mapping[str, Tensor]): Scalars.

        Returns:
            dict[str, float]: The same as Python numbers.
        """
        stacked = torch.stack([value.detach().reshape(()).float() for value in values.values()])
        return dict(zip(values, stacked.tolist(), strict=True))
