"""Heads that ask for other maps than they get."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from cda_mmseg.models.players import EncoderPlayer


@contextmanager
def head_maps_compared(encoder: EncoderPlayer) -> Iterator[None]:
    """Compare the maps of backbone or neck with what the heads read of them.

    torch says which channels a convolution has got, but not whose it is. Compiled networks are left to torch.

    Yields:
        None: Nothing: the block is for the first training step.

    Raises:
        ValueError: Within the block, if a map is not there or has other channels.
    """
    giver = 'neck' if hasattr(encoder, 'neck') else 'backbone'

    def compare(module: nn.Module, inputs: tuple, maps: Tensor | Sequence[Tensor]) -> None:
        maps = [maps] if isinstance(maps, Tensor) else maps
        if all(isinstance(one, Tensor) for one in maps):
            for name, head in encoder.heads.items():
                key = dict(decode='decode_head').get(name, name.replace('aux', 'auxiliary_head').replace('d_', 'd.'))
                _check_maps(head, [one.shape[1] for one in maps], f'model.{key}', f'model.{giver}')

    handle = getattr(encoder, giver).register_forward_hook(compare)
    try:
        yield
    finally:
        handle.remove()


def _check_maps(head: BaseDecodeHead, channels: list[int], key: str, giver: str) -> None:
    if type(head)._transform_inputs is not BaseDecodeHead._transform_inputs:
        return
    indices = head.in_index if isinstance(head.in_index, Sequence) else [head.in_index]
    if any(not -len(channels) <= index < len(channels) for index in indices):
        raise ValueError(
            f'{key}.in_index={head.in_index}, but {giver} gives {len(channels)} maps, which are numbered from 0.'
        )
    found = [channels[index] for index in indices]
    wanted = list(head.in_channels) if isinstance(head.in_channels, Sequence) else [head.in_channels]
    # such a head keeps the sum of what the config says
    if wanted != ([sum(found)] if head.input_transform == 'resize_concat' else found):
        raise ValueError(
            f'{key}.in_channels={head.in_channels}, but the maps {indices} of {giver} have {found} channels. '
            'Write that, or choose others with in_index.'
        )
