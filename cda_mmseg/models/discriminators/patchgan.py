"""A discriminator of patches."""

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class PatchGANDiscriminator(BaseModule):
    """Judge overlapping patches of a picture.

    The discriminator of pix2pix, `Image-to-Image Translation with Conditional Adversarial Networks
    <https://arxiv.org/abs/1611.07004>`_, in the form that domain adaptation uses since AdaptSegNet,
    `Learning to Adapt Structured Output Space for Semantic Segmentation <https://arxiv.org/abs/1802.10349>`_:
    ``num_layers`` 4x4 convolutions of stride 2 with LeakyReLU of slope .2 between them and a logit map at the end. With
    ``n`` layers a logit sees a patch of ``3 * 2 ** n - 2`` pixels on a side: 22, 46, 94 for 3, 4, 5 layers.

    Args:
        in_channels (int): Channels of the pictures.
        base_channels (int): Channels after the first convolution; each further one doubles them, up to 8 times.
        num_layers (int): Number of convolutions, the last one included. Defaults to 5 (64-128-256-512-1).
        out_channels (int): Logit maps: 1 for a discriminator of one domain, 2 for one that is shared by two domains.
        norm_cfg (dict, optional): Norm layer behind all convolutions but the first and the last, which then have no
            bias. None in AdaptSegNet.
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to pix2pix's, a standard deviation of .02.

    Raises:
        ValueError: If ``num_layers`` is less than 1.

    Shape:
        - Input: ``(N, in_channels, H, W)`` with H and W at least ``2 ** num_layers``, in the range of the generator's
          pictures, [-1, 1].
        - Output: logits ``(N, out_channels, H // 2 ** num_layers, W // 2 ** num_layers)``.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 64,
        num_layers: int = 5,
        out_channels: int = 1,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg or dict(type='Normal', layer='Conv2d', std=0.02))
        if num_layers < 1:
            raise ValueError(f'num_layers={num_layers} must be at least 1')
        self.num_layers = num_layers
        layers: list[nn.Module] = []
        channels = in_channels
        for index in range(num_layers - 1):
            width = base_channels * 2 ** min(index, 3)
            layers.append(
                ConvModule(
                    channels,
                    width,
                    kernel_size=4,
                    stride=2,
                    padding=1,
                    norm_cfg=norm_cfg if index else None,
                    act_cfg=dict(type='LeakyReLU', negative_slope=0.2),
                )
            )
            channels = width
        layers.append(nn.Conv2d(channels, out_channels, kernel_size=4, stride=2, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute the logits of all patches."""
        least = 2**self.num_layers
        if min(pictures.shape[-2:]) < least:
            raise ValueError(
                f'pictures of {tuple(pictures.shape[-2:])} (height, width) are too small: with '
                f'num_layers={self.num_layers} the discriminator needs {least}x{least} pixels; use fewer layers or '
                'larger crops'
            )
        return self.layers(pictures)
