"""The head of DeepLabV2."""

from collections.abc import Sequence

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DeepLabV2Head(BaseDecodeHead):
    """Sum of class scores from dilated convolutions side by side.

    `DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs
    <https://arxiv.org/abs/1606.00915>`_, in the form that domain adaptation uses: 3x3 convolutions straight from the
    map to the classes, no norm, weights drawn with a standard deviation of .01. (mmseg's ``ASPPHead`` is DeepLabV3's.)

    AdaptSegNet's code, and many that copied it, return from inside the loop over the convolutions, so that of the four
    only those with the dilations 6 and 12 take part there. Here all do.

    Args:
        in_channels (int): Channels of the map.
        num_classes (int): Number of classes.
        in_index (int): Position of the map in the backbone's output.
        dilations (Sequence[int]): One convolution each.
        dropout_ratio (float): Drop probability of whole channels of the map.
        out_channels (int | None): Number of score maps, see mmseg's ``BaseDecodeHead``.
        threshold (float | None): Threshold of binary segmentation with one score map.
        loss_decode (dict | Sequence[dict] | None): Segmentation losses. Defaults to cross entropy.
        ignore_index (int): Label of pixels that do not count.
        sampler (dict | None): Pixel sampler of mmseg.
        align_corners (bool): Whether corner pixels keep their places when upsampling.
        init_cfg (dict | list[dict] | None): Initialisation.

    Shape:
        - Input: all maps of the backbone; that of ``in_index`` is ``(N, in_channels, h, w)``.
        - Output: ``(N, num_classes, h, w)``.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        in_index: int = -1,
        dilations: Sequence[int] = (6, 12, 18, 24),
        dropout_ratio: float = 0.0,
        out_channels: int | None = None,
        threshold: float | None = None,
        loss_decode: dict | Sequence[dict] | None = None,
        ignore_index: int = 255,
        sampler: dict | None = None,
        align_corners: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            channels=in_channels,
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=dropout_ratio,
            in_index=in_index,
            loss_decode=loss_decode or dict(type='CrossEntropyLoss'),
            ignore_index=ignore_index,
            sampler=sampler,
            align_corners=align_corners,
            init_cfg=init_cfg or dict(type='Normal', layer='Conv2d', std=0.01),
        )
        # In place of the base class's 1x1 convolution.
        self.conv_seg = _Sum(
            nn.Conv2d(in_channels, self.out_channels, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Compute the class scores (N, num_classes, h, w) of the backbone's maps."""
        return self.cls_seg(self._transform_inputs(inputs))


class _Sum(nn.ModuleList):
    """The sum of what its modules make of one input."""

    def forward(self, inputs: Tensor) -> Tensor:
        return sum(module(inputs) for module in self)
