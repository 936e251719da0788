"""BatchNorm that would see one value per channel."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def single_values_named(model: nn.Module) -> Iterator[None]:
    """Name the BatchNorm that fails on a single value, such as that of a globally pooled batch of one image.

    torch says neither which layer it was nor what to do. The batch of the paper is 1, and many heads pool globally.

    Yields:
        None: Nothing: the block is for the first training step.

    Raises:
        ValueError: Within the block, if a BatchNorm in training mode gets one value per channel.
    """

    def named(name: str) -> object:
        def check(module: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
            if module.training and inputs[0].numel() == inputs[0].shape[1]:
                raise ValueError(
                    f'model.{name} ({type(module).__name__}) normalises over the batch, but gets one value a channel: '
                    f'its input is {tuple(inputs[0].shape)}. Use batch_size=2 or more, a norm layer without the batch '
                    "(norm_cfg=dict(type='GN', num_groups=32)), or a head without global pooling."
                )

        return check

    # Over several processes SyncBatchNorm sees more than its own value.
    norms = {name: one for name, one in model.named_modules() if isinstance(one, _BatchNorm)}
    handles = [
        one.register_forward_pre_hook(named(name))
        for name, one in norms.items()
        if not isinstance(one, nn.SyncBatchNorm)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
