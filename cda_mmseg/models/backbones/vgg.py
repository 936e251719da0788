"""VGG with its first two fully connected layers as convolutions."""

import logging
from collections import OrderedDict
from collections.abc import Sequence

import torch
from mmcv.cnn import build_norm_layer
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cda_mmseg.models.backbones.large_kernel_conv import LargeKernelConv2d
from cda_mmseg.models.backbones.vgg_weights import convert_vgg_weights
from cda_mmseg.models.backbones.weight_files import CONFIG_KEY, read_weights, split_init_cfg
from cda_mmseg.utils.arguments import lists_arguments
from cda_mmseg.utils.loading.errors import CheckpointError

_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (1, 2, 4, 8, 8)
_FC_STAGE = 5


@MODELS.register_module()
class VGG(BaseModule):
    """VGG for dense prediction, the encoder of FCN8s-VGG16.

    `Very Deep Convolutional Networks for Large-Scale Image Recognition <https://arxiv.org/abs/1409.1556>`_, made fully
    convolutional as in `Fully Convolutional Networks for Semantic Segmentation <https://arxiv.org/abs/1411.4038>`_:
    fc6 is a 7x7 convolution with padding 3 (not FCN's input padding of 100 pixels) and fc7 a 1x1 convolution, each
    followed by ReLU and dropout. All pooling rounds up, so that every input from 1x1 pixels on is legal and map ``i``
    has ``ceil(size / stride)`` pixels. Stages past the last output are not built: no parameter stays without gradient.

    The state dict has torchvision's names for the features (``features.N.weight``), so that ``init_cfg=dict(
    type='Pretrained', checkpoint=...)`` takes torchvision's files, e.g.
    https://download.pytorch.org/models/vgg16-397923af.pth (RGB, mean and standard deviation normalised). They include
    fc6 and fc7 as ``classifier.0`` and ``classifier.3``. Where a file has none, or ``fc_channels`` is not the file's
    4096, fc6 and fc7 stay at their random initialisation and a log line says so.

    Args:
        depth (int): Number of layers with weights in the original network: 11, 13, 16 or 19.
        base_channels (int): Channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        fc_channels (int, optional): Channels of fc6 and fc7. Not used unless 5 is in ``out_indices``.
        norm_cfg (dict, optional): Norm layer after every convolution, which then has no bias; none in the original.
        out_indices (Sequence[int]): Maps to return, ascending: 0 to 4 are pool1 to pool5 (strides 2 to 32), 5 is fc7
            (stride 32).
        frozen_stages (int): Number of leading stages that are not trained; the sixth is fc6 with fc7.
        norm_eval (bool): Keep BatchNorm layers in evaluation mode, so that their running statistics stay.
        with_cp (bool): Keep only the inputs of the stages for the backward pass and compute the rest again. Gradients
            are unchanged; running statistics of BatchNorm in training mode would move twice.
        dropout (float): Drop probability after fc6 and fc7.
        in_channels (int): Channels of the images; weight files are for 3.
        pretrained (str, optional): A checkpoint, as ``init_cfg=dict(type='Pretrained', checkpoint=...)`` names it.
        init_cfg (dict | list[dict], optional): Initialisation. Without other entries than ``Pretrained``,
            convolutions are drawn from He's normal distribution, biases are zero.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: For an argument that is not taken; lists those that are.

    Shape:
        - Input: ``(N, in_channels, H, W)`` floating point, H and W at least 1.
        - Output: tuple of ``(N, C_i, ceil(H / stride_i), ceil(W / stride_i))``.
    """

    @lists_arguments
    def __init__(
        self,
        depth: int = 16,
        base_channels: int = 64,
        fc_channels: int | None = 4096,
        norm_cfg: dict | None = None,
        out_indices: Sequence[int] = (2, 3, 5),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        dropout: float = 0.5,
        in_channels: int = 3,
        pretrained: str | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        drawn, read = split_init_cfg(init_cfg, pretrained)
        super().__init__(init_cfg=drawn or dict(type='Kaiming', layer='Conv2d', mode='fan_in'))

        if depth not in _CONVOLUTIONS:
            raise ValueError(f'depth={depth} is no VGG; choose one of {sorted(_CONVOLUTIONS)}')
        if not out_indices or list(out_indices) != sorted(set(out_indices) & set(range(_FC_STAGE + 1))):
            raise ValueError(f'out_indices={tuple(out_indices)} must ascend within 0 to {_FC_STAGE}')
        if not -1 <= frozen_stages <= max(out_indices) + 1:
            raise ValueError(f'frozen_stages={frozen_stages} must be within -1 to {max(out_indices) + 1}')
        if max(out_indices) == _FC_STAGE and fc_channels is None:
            raise ValueError('out_indices asks for fc7 (5), but fc_channels is None')

        self.depth = depth
        self.base_channels = base_channels
        self.fc_channels = fc_channels
        self.norm_cfg = norm_cfg
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.pretrained_cfgs = read

        layers: list[nn.Module] = []
        self.stage_ends: list[int] = []
        channels = in_channels
        for stage in range(min(max(out_indices) + 1, _FC_STAGE)):
            width = base_channels * _WIDTHS[stage]
            for _ in range(_CONVOLUTIONS[depth][stage]):
                layers += [layer for _, layer in self._convolution(channels, width, kernel_size=3)]
                channels = width
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True))
            self.stage_ends.append(len(layers))
        self.features = nn.Sequential(*layers)

        if max(out_indices) == _FC_STAGE:
            named = [
                *self._convolution(channels, fc_channels, kernel_size=7, index='6'),
                ('dropout6', nn.Dropout(dropout)),
                *self._convolution(fc_channels, fc_channels, kernel_size=1, index='7'),
                ('dropout7', nn.Dropout(dropout)),
            ]
            self.fc = nn.Sequential(OrderedDict(named))

        self._freeze_stages()

    def _convolution(
        self, in_channels: int, out_channels: int, kernel_size: int, index: str = ''
    ) -> list[tuple[str, nn.Module]]:
        """Make the named layers of a convolution, its norm and its ReLU."""
        biased = self.norm_cfg is None
        if kernel_size > 3:
            convolution = LargeKernelConv2d(in_channels, out_channels, kernel_size, bias=biased)
        else:
            convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=biased)
        norm = [] if self.norm_cfg is None else [(f'norm{index}', build_norm_layer(self.norm_cfg, out_channels)[1])]
        return [(f'fc{index}', convolution), *norm, (f'relu{index}', nn.ReLU(inplace=True))]

    def _stage(self, index: int) -> list[nn.Module]:
        """List the layers of one stage."""
        if index == _FC_STAGE:
            return list(self.fc)
        start = self.stage_ends[index - 1] if index else 0
        return list(self.features[start : self.stage_ends[index]])

    def _freeze_stages(self) -> None:
        for index in range(self.frozen_stages):
            for layer in self._stage(index):
                layer.eval()
                layer.requires_grad_(False)

    def init_weights(self) -> None:
        """Draw the weights, then load those that ``init_cfg`` names."""
        is_first_call = not self.is_init
        super().init_weights()
        if is_first_call:
            for cfg in self.pretrained_cfgs:
                self._load_pretrained(cfg['checkpoint'], cfg.get('prefix'))

    def _load_pretrained(self, source: str, prefix: str | None) -> None:
        weights = read_weights(source, prefix)
        try:
            converted, left = convert_vgg_weights(weights, self.state_dict(), len(self.features))
        except ValueError as error:
            raise CheckpointError(
                f'The initial weights {source} do not fit a VGG-{self.depth} with base_channels={self.base_channels} '
                f'and norm_cfg={self.norm_cfg}: {error}. Change the network, or set the config key {CONFIG_KEY} to '
                'its own weights.'
            ) from error
        self.load_state_dict(converted, strict=False)
        print_log(f'Loaded {len(converted)} tensors of VGG-{self.depth} from {source}', logger='current')
        if left:
            print_log(
                f'fc6 and fc7 are left at their random initialisation: {source} has no weights for '
                f'fc_channels={self.fc_channels}',
                logger='current',
                level=logging.WARNING,
            )

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
        for layer in self._stage(index):
            x = layer(x)
        return x

    def train(self, mode: bool = True) -> 'VGG':
        """Set the mode, except for frozen stages and, with ``norm_eval``, BatchNorm layers."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
