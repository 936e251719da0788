"""The head of FCN8s."""

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn

from cda_mmseg.utils.arguments import lists_arguments


@MODELS.register_module()
class FCN8sHead(BaseDecodeHead):
    """Sum of class scores from several depths, as in FCN8s.

    `Fully Convolutional Networks for Semantic Segmentation <https://arxiv.org/abs/1411.4038>`_, trained in one stage
    ("at once"): a 1x1 convolution scores each map; beginning at the deepest, scores are upsampled bilinearly to the
    size of the next map, with nothing to learn, and added to its scores. The result has the size of the shallowest map,
    stride 8 for the default (pool3, pool4, fc7); upsampling to the image and softmax are left to mmseg.

    Args:
        in_channels (Sequence[int]): Channels of the maps, shallowest first.
        in_index (Sequence[int]): Their positions in the backbone's output.
        num_classes (int): Number of classes.
        skip_scales (Sequence[float], optional): Factors on the maps before they are scored, shallowest first, without
            the deepest. The original has (.0001, .01) for features of Caffe's weights, whose sizes differ by these
            orders of magnitude. Defaults to 1 for each.
        norm_cfg (dict, optional): Norm layer on each map before it is scored, in place of ``skip_scales``; none in the
            original.
        zero_init (bool): Begin with all weights and biases zero, so that all classes are equally probable. Otherwise
            weights are drawn with a standard deviation of .01. Ignored where ``init_cfg`` is given.
        dropout_ratio (float): Drop probability of whole channels of the deepest map; the VGG backbone has its own
            dropout behind fc6 and fc7.
        out_channels (int, optional): Number of score maps, see mmseg's ``BaseDecodeHead``.
        threshold (float, optional): Threshold of binary segmentation with one score map.
        loss_decode (dict | Sequence[dict], optional): Segmentation losses. Defaults to cross entropy.
        ignore_index (int): Label of pixels that do not count.
        sampler (dict, optional): Pixel sampler of mmseg.
        align_corners (bool): Whether corner pixels keep their places when upsampling.
        init_cfg (dict | list[dict], optional): Initialisation.

    Raises:
        ValueError: If the numbers of maps and of scales do not match.
        TypeError: For an argument that is not taken; lists those that are.

    Shape:
        - Input: all maps of the backbone; those of ``in_index`` are ``(N, in_channels[i], h_i, w_i)``.
        - Output: ``(N, num_classes, h_0, w_0)``.
    """

    @lists_arguments
    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 4096),
        in_index: Sequence[int] = (0, 1, 2),
        *,
        num_classes: int,
        skip_scales: Sequence[float] | None = None,
        norm_cfg: dict | None = None,
        zero_init: bool = True,
        dropout_ratio: float = 0.0,
        out_channels: int | None = None,
        threshold: float | None = None,
        loss_decode: dict | Sequence[dict] | None = None,
        ignore_index: int = 255,
        sampler: dict | None = None,
        align_corners: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if len(in_channels) != len(in_index):
            raise ValueError(f'in_channels={tuple(in_channels)} and in_index={tuple(in_index)} differ in length')
        scales = [1.0] * (len(in_channels) - 1) if skip_scales is None else [float(scale) for scale in skip_scales]
        if len(scales) != len(in_channels) - 1:
            raise ValueError(f'skip_scales={tuple(scales)} must have one entry per map but the deepest')
        if init_cfg is None:
            weights = dict(type='Constant', val=0.0) if zero_init else dict(type='Normal', std=0.01)
            init_cfg = dict(layer='Conv2d', **weights)
        # The base class's `conv_seg` scores the deepest map.
        super().__init__(
            in_channels=list(in_channels),
            channels=in_channels[-1],
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=dropout_ratio,
            norm_cfg=norm_cfg,
            in_index=list(in_index),
            input_transform='multiple_select',
            loss_decode=loss_decode or dict(type='CrossEntropyLoss'),
            ignore_index=ignore_index,
            sampler=sampler,
            align_corners=align_corners,
            init_cfg=init_cfg,
        )
        self.skip_scales = scales
        self.norms = nn.ModuleList(
            nn.Identity() if norm_cfg is None else build_norm_layer(norm_cfg, channels)[1] for channels in in_channels
        )
        self.skip_scores = nn.ModuleList(
            nn.Conv2d(channels, self.out_channels, kernel_size=1) for channels in in_channels[:-1]
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Compute the class scores."""
        maps = self._transform_inputs(inputs)
        *skips, deepest = [norm(one) for norm, one in zip(self.norms, maps, strict=True)]
        scores = self.cls_seg(deepest)
        for skip, scale, scorer in reversed(list(zip(skips, self.skip_scales, self.skip_scores, strict=True))):
            skip = skip if scale == 1.0 else scale * skip
            scores = scorer(skip) + resize(
                scores, size=skip.shape[2:], mode='bilinear', align_corners=self.align_corners
            )
        return scores
