"""DAFormer's context-aware head."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.sep_aspp_head import DepthwiseSeparableASPPModule
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DAFormerHead(BaseDecodeHead):
    """Embed the maps of all levels at the size of the first, and fuse them with dilated convolutions side by side.

    `DAFormer: Improving Network Architectures and Training Strategies for Domain-Adaptive Semantic Segmentation
    <https://arxiv.org/abs/2111.14887>`_, section 3.2. The names of its weights are those of the released checkpoints.

    Args:
        in_channels (Sequence[int]): Channels of the maps.
        num_classes (int): Number of classes.
        in_index (Sequence[int]): Positions of the maps in the backbone's output, the largest map first.
        channels (int): Channels of each embedding, of each convolution and of the fused map.
        dilations (Sequence[int]): One depthwise separable convolution each; 1 is a plain 1x1 convolution.
        dropout_ratio (float): Drop probability of whole channels of the fused map.
        norm_cfg (dict | None): Norm layer; BatchNorm by default.
        out_channels (int | None): Number of score maps, see mmseg's ``BaseDecodeHead``.
        threshold (float | None): Threshold of binary segmentation with one score map.
        loss_decode (dict | Sequence[dict] | None): Segmentation losses. Defaults to cross entropy.
        ignore_index (int): Label of pixels that do not count.
        sampler (dict | None): Pixel sampler of mmseg.
        align_corners (bool): Whether corner pixels keep their places when upsampling.
        init_cfg (dict | list[dict] | None): Initialisation.

    Shape:
        - Input: maps ``(N, in_channels[i], h_i, w_i)`` of the backbone.
        - Output: ``(N, num_classes, h, w)``, of the size of the first map.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        channels: int = 256,
        dilations: Sequence[int] = (1, 6, 12, 18),
        dropout_ratio: float = 0.1,
        norm_cfg: dict | None = None,
        out_channels: int | None = None,
        threshold: float | None = None,
        loss_decode: dict | Sequence[dict] | None = None,
        ignore_index: int = 255,
        sampler: dict | None = None,
        align_corners: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            in_channels=list(in_channels),
            channels=channels,
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=dropout_ratio,
            norm_cfg=norm_cfg or dict(type='BN'),
            in_index=list(in_index),
            input_transform='multiple_select',
            loss_decode=loss_decode or dict(type='CrossEntropyLoss'),
            ignore_index=ignore_index,
            sampler=sampler,
            align_corners=align_corners,
            init_cfg=init_cfg or dict(type='Normal', std=0.01, override=dict(name='conv_seg')),
        )
        self.embed_layers = nn.ModuleDict(
            {str(index): _Embedding(width, channels) for index, width in zip(in_index, in_channels, strict=True)}
        )
        self.fuse_layer = _Fusion(len(in_channels) * channels, channels, dilations, self.norm_cfg, self.act_cfg)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Compute the class scores (N, num_classes, h, w) of the backbone's maps."""
        maps = self._transform_inputs(inputs)
        embedded = [
            resize(embed(one), size=maps[0].shape[2:], mode='bilinear', align_corners=self.align_corners)
            for embed, one in zip(self.embed_layers.values(), maps, strict=True)
        ]
        return self.cls_seg(self.fuse_layer(torch.cat(embedded, 1)))


class _Embedding(nn.Module):
    """Project the channels of a map (N, C, h, w)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        return self.proj(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Fusion(nn.Module):
    """Convolutions of several dilations side by side, and one that joins them."""

    def __init__(
        self, in_channels: int, channels: int, dilations: Sequence[int], norm_cfg: dict, act_cfg: dict
    ) -> None:
        super().__init__()
        self.aspp_modules = DepthwiseSeparableASPPModule(
            dilations=tuple(dilations),
            in_channels=in_channels,
            channels=channels,
            conv_cfg=None,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )
        self.bottleneck = ConvModule(
            len(dilations) * channels, channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=act_cfg
        )

    def forward(self, maps: Tensor) -> Tensor:
        return self.bottleneck(torch.cat(self.aspp_modules(maps), 1))
