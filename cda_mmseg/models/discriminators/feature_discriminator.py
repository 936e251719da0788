"""A discriminator of the cells of a feature map."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class FeatureDiscriminator(BaseModule):
    """Judge every cell of a feature map on its own, by 1x1 convolutions with dropout of whole channels between them.

    The discriminator of CyCADA's feature stage, `CyCADA: Cycle-Consistent Adversarial Domain Adaptation
    <https://arxiv.org/abs/1711.03213>`_, which reads fc7 of FCN8s. It has two outputs there, whose difference is the
    one logit here.

    Args:
        in_channels (int): Channels of the map.
        channels (Sequence[int]): Channels behind all convolutions but the last; CyCADA has (1024, 512) for 4096 input
            channels and (512, 256) for fewer.
        dropout (float): Share of the channels that are dropped behind each of these.
        init_cfg (dict | list[dict] | None): Initialisation. Defaults to a standard deviation of .02.

    Shape:
        - Input: ``(N, in_channels, H, W)``.
        - Output: logits ``(N, 1, H, W)``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = (1024, 512),
        dropout: float = 0.5,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg or dict(type='Normal', layer='Conv2d', std=0.02))
        layers: list[nn.Module] = []
        for width in channels:
            layers += [nn.Conv2d(in_channels, width, 1), nn.Dropout2d(dropout), nn.ReLU(inplace=True)]
            in_channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(in_channels, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Compute the logits (N, 1, H, W) of a map (N, in_channels, H, W)."""
        return self.layers(maps)
