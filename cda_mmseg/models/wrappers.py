"""Distributed training with one reducer per player."""

from mmengine.optim import OptimWrapperDict
from mmseg.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cda_mmseg.models.segmentors import UDASegmentor


@MODEL_WRAPPERS.register_module()
class PlayerDistributedDataParallel(nn.Module):
    """Wrap every trained player in a ``DistributedDataParallel`` of its own.

    The player that is being updated runs through its wrapper, which reduces its gradients and no others, once per step;
    the other players run raw and frozen. No parameter is ever unused, so nothing is searched for.

    Args:
        module (nn.Module): The model. One that is no ``UDASegmentor``, such as that of test-time augmentation, is
            passed through: it can be evaluated on several processes, but not trained.
        bucket_cap_mb (int): Size of a gradient bucket in MiB.
    """

    def __init__(self, module: nn.Module, bucket_cap_mb: int = 25) -> None:
        super().__init__()
        self.module = module
        # A plain dict: the wrappers are no children of this module, so no parameter appears twice. ``device_ids`` stays
        # None, on a CPU because it must, on a GPU because the inputs are already there.
        self.forwards = {
            name: DistributedDataParallel(player, broadcast_buffers=False, bucket_cap_mb=bucket_cap_mb)
            for name, player in (module.trained_players() if isinstance(module, UDASegmentor) else {}).items()
        }

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> dict[str, float]:
        """Take one training step, see ``UDASegmentor.train_step``.

        Args:
            data (dict): One batch per domain.
            optim_wrapper (OptimWrapperDict): One optimizer wrapper per player.

        Returns:
            dict[str, float]: Values to log.

        Raises:
            TypeError: If the model is no ``UDASegmentor``.
        """
        if not self.forwards:
            raise TypeError(f'PlayerDistributedDataParallel trains a UDASegmentor, got {type(self.module).__name__}.')
        return self.module.train_step(data, optim_wrapper, self.forwards)

    def val_step(self, data: dict) -> list:
        """Predict a validation batch, see mmengine's ``BaseModel.val_step``.

        Args:
            data (dict): A batch.

        Returns:
            list[SegDataSample]: Predictions.
        """
        return self.module.val_step(data)

    def test_step(self, data: dict) -> list:
        """Predict a test batch, see mmengine's ``BaseModel.test_step``.

        Args:
            data (dict): A batch.

        Returns:
            list[SegDataSample]: Predictions.
        """
        return self.module.test_step(data)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> object:
        """Run the model without training it, see mmseg's ``BaseSegmentor.forward``."""
        return self.module(inputs, data_samples, mode=mode)
