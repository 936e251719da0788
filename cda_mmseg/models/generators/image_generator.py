"""The generator: from features back to the picture."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils.checkpoint import checkpoint

_INSTANCE_NORM = MappingProxyType({'type': 'IN'})
# Below this a map counts as zero and is not amplified.
_LEAST_RMS = 1e-5


@MODELS.register_module()
class ImageGenerator(BaseModule):
    """Rebuild the picture from feature maps of any backbone.

    The generator G of "Penalizing Top Performers: Conservative Loss for Semantic Segmentation Adaptation", section 3.4,
    whose layers the paper does not give. Ours follows the one of LSD-seg, `Learning from Synthetic Data
    <https://arxiv.org/abs/1711.06969>`_: a U-Net decoder with InstanceNorm and ReLU that begins at the deepest map and
    takes in the shallower ones by concatenation.

    Every map is divided by its root mean square (per sample, over channels and pixels), which makes features of any
    scale alike, and receives Gaussian noise of standard deviation ``noise_std`` while training (section 4.2). A 1x1
    convolution brings it to the width of its level. Sizes are worked out at run time: from map to map the decoder takes
    the size of the next map, and from the shallowest to the picture it goes in ``num_upsamplings`` steps of equal
    ratio. Hence the parameters depend on the config only, whatever the strides.

    With the default widths on FCN8s-VGG16 at 1024x512 it has 4.6 M parameters and takes 33 GFLOP forward, 7 % of the
    encoder's 443; ``base_channels=32`` takes 112.

    Args:
        in_channels (Sequence[int]): Channels of the maps, shallowest first.
        in_index (Sequence[int]): Their positions in the backbone's output.
        num_upsamplings (int): Steps from the shallowest map to the picture; 3 doublings from stride 8, 2 from stride 4.
        base_channels (int): Width at the picture's size. Each step towards the deepest map doubles it.
        max_channels (int): Greatest width.
        out_channels (int): Channels of the picture.
        noise_std (float): Standard deviation of the noise, relative to the root mean square of each map.
        dropout (float): Drop probability behind the fusion with each map; .5 in LSD-seg.
        norm_cfg (Mapping, optional): Norm layer, InstanceNorm without parameters by default; convolutions in front of
            it have no bias.
        with_cp (bool): Keep only the inputs of the steps for the backward pass and compute the rest again. Gradients
            are unchanged.
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to He's normal distribution, and a standard
            deviation of .02 in front of the tanh, so that the first pictures are grey and not saturated.

    Raises:
        ValueError: If an argument is out of range.

    Shape:
        - Input: all maps of the backbone; those of ``in_index`` are ``(N, in_channels[i], h_i, w_i)``.
        - Output: ``(N, out_channels, *size)`` in [-1, 1] (tanh).
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_index: Sequence[int],
        num_upsamplings: int = 3,
        base_channels: int = 16,
        max_channels: int = 512,
        out_channels: int = 3,
        noise_std: float = 0.1,
        dropout: float = 0.0,
        norm_cfg: Mapping | None = _INSTANCE_NORM,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            init_cfg=init_cfg
            or dict(
                type='Kaiming',
                layer='Conv2d',
                mode='fan_in',
                override=dict(type='Normal', name='to_picture', std=0.02),
            )
        )
        if not in_channels or len(in_channels) != len(in_index):
            raise ValueError(
                f'in_channels={tuple(in_channels)} and in_index={tuple(in_index)} must name the same, at least one map'
            )
        if num_upsamplings < 1:
            raise ValueError(f'num_upsamplings={num_upsamplings} must be at least 1')
        if noise_std < 0:
            raise ValueError(f'noise_std={noise_std} must not be negative')
        self.in_channels = tuple(in_channels)
        self.in_index = tuple(in_index)
        self.noise_std = noise_std
        self.with_cp = with_cp

        norm_cfg = None if norm_cfg is None else dict(norm_cfg)
        num_maps = len(in_channels)
        # Level 0 is the picture's size, level `num_upsamplings` the shallowest map's.
        widths = [min(base_channels * 2**level, max_channels) for level in range(num_upsamplings + num_maps)]
        map_widths = widths[num_upsamplings:]
        self.laterals = nn.ModuleList(
            ConvModule(channels, width, kernel_size=1) for channels, width in zip(in_channels, map_widths, strict=True)
        )
        self.fusions = nn.ModuleList(
            ConvModule(deeper + width, width, kernel_size=3, padding=1, norm_cfg=norm_cfg)
            for width, deeper in pairwise(map_widths)
        )
        self.upsamplings = nn.ModuleList(
            ConvModule(widths[level + 1], widths[level], kernel_size=3, padding=1, norm_cfg=norm_cfg)
            for level in reversed(range(num_upsamplings))
        )
        self.dropout = nn.Dropout(dropout)
        self.to_picture = nn.Conv2d(widths[0], out_channels, kernel_size=3, padding=1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Rebuild the picture."""
        *skips, x = self.embed(features)
        x = self.laterals[-1](x)
        for skip, lateral, fusion in reversed(list(zip(skips, self.laterals, self.fusions, strict=False))):
            x = self._step(self._fuse, x, skip, lateral, fusion)

        height, width = x.shape[-2:]
        steps = len(self.upsamplings)
        for index, upsampling in enumerate(self.upsamplings, start=1):
            part = index / steps
            step_size = (
                round(height * (size[0] / height) ** part),
                round(width * (size[1] / width) ** part),
            )
            x = self._step(self._upsample, x, step_size, upsampling)
        return torch.tanh(self.to_picture(x))

    def embed(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Select the maps, divide each by its root mean square and, while training, add the noise.

        Args:
            features (Sequence[Tensor]): The backbone's maps.

        Returns:
            list[Tensor]: The maps of ``in_index``, of root mean square 1 without the noise.

        Raises:
            ValueError: If the maps are not those of ``in_index`` and ``in_channels``.
        """
        embedding = []
        for index, channels in zip(self.in_index, self.in_channels, strict=True):
            if not -len(features) <= index < len(features) or features[index].shape[1] != channels:
                found = [tuple(feature.shape) for feature in features]
                raise ValueError(
                    f'the generator expects map {index} with {channels} channels (in_index={self.in_index}, '
                    f'in_channels={self.in_channels}), but the backbone gives {found}'
                )
            feature = features[index]
            # In fp32 because squares of half precision features may overflow.
            dtype = torch.promote_types(feature.dtype, torch.float32)
            norm = torch.linalg.vector_norm(feature, dim=(1, 2, 3), keepdim=True, dtype=dtype)
            rms = norm / feature[0].numel() ** 0.5
            feature = feature / rms.clamp_min(_LEAST_RMS).to(feature.dtype)
            if self.training and self.noise_std > 0:
                noise = torch.randn(feature.shape, dtype=feature.dtype, device=feature.device)
                feature = torch.add(feature, noise, alpha=self.noise_std)
            embedding.append(feature)
        return embedding

    def _step(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)

    def _fuse(self, x: Tensor, skip: Tensor, lateral: ConvModule, fusion: ConvModule) -> Tensor:
        """Join the deeper map, at the size of the skip, with the skip."""
        joined = torch.cat([_resize(x, skip.shape[-2:]), lateral(skip)], dim=1)
        return self.dropout(_convolve(fusion, joined))

    def _upsample(self, x: Tensor, size: tuple[int, int], block: ConvModule) -> Tensor:
        return _convolve(block, _resize(x, size))


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return x if x.shape[-2:] == tuple(size) else resize(x, size=tuple(size), mode='bilinear', align_corners=False)


def _convolve(block: ConvModule, x: Tensor) -> Tensor:
    # InstanceNorm of a single pixel would be zero, and torch refuses it.
    is_single_pixel = x.shape[-2] * x.shape[-1] == 1
    return block(x, norm=not (is_single_pixel and isinstance(block.norm, _InstanceNorm)))
