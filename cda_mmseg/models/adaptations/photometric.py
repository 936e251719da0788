"""Strong augmentation of a batch on its device: colour jitter and blur, as DACS and DAFormer use it."""

import math
from dataclasses import dataclass

import torch
from mmseg.models import SegDataPreProcessor
from torch import Tensor
from torch.nn import functional as F

from cda_mmseg.models.losses.checks import check_number

# From RGB to luma and two colour differences (NTSC's YIQ): hue is an angle in the plane of the latter.
TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
BLUR_SIGMAS = 0.15, 1.15


@dataclass(frozen=True)
class PhotometricJitter:
    """Change brightness, contrast, saturation and hue, and blur, by one draw for the whole batch.

    Probabilities and ranges are those of DACS. Hue is rotated in YIQ space instead of HSV. The draws use torch's
    generator of the CPU, so nothing is read from the device. Images without three channels are blurred only.

    Attributes:
        strength: Half-width of the factors around 1, and of the hue's shift around 0 in turns.
        probability: Of the colours' change.
        blur_probability: Of the blur, whose sigma is drawn from .15 to 1.15 pixels.

    Raises:
        ValueError: If one of them is not in [0, 1].
    """

    strength: float = 0.25
    probability: float = 0.8
    blur_probability: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_number('PhotometricJitter', name, value, at_least=0, at_most=1)

    def __call__(self, images: Tensor, preprocessor: SegDataPreProcessor) -> Tensor:
        """Augment normalised images (N, 3, H, W) in the network's channel order."""
        changes_colours, brightness, contrast, saturation, hue, blurs, sigma = torch.rand(7).tolist()
        if changes_colours < self.probability and images.shape[1] == 3:
            factors = (1 + self.strength * (2 * draw - 1) for draw in (brightness, contrast, saturation))
            images = self._change_colours(images, preprocessor, *factors, self.strength * (2 * hue - 1))
        if blurs < self.blur_probability:
            images = blur(images, BLUR_SIGMAS[0] + sigma * (BLUR_SIGMAS[1] - BLUR_SIGMAS[0]))
        return images

    @staticmethod
    def _change_colours(
        images: Tensor,
        preprocessor: SegDataPreProcessor,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
    ) -> Tensor:
        mean, std = getattr(preprocessor, 'mean', 0.0), getattr(preprocessor, 'std', 1.0)
        pictures = ((images * std + mean) / 255 * brightness).clamp(0, 1)
        to_yiq = torch.tensor(TO_YIQ, device=images.device, dtype=images.dtype)
        if not preprocessor._channel_conversion:
            to_yiq = to_yiq.flip(1)  # mmcv loads BGR
        grey = torch.einsum('c,nchw->nhw', to_yiq[0], pictures).mean((1, 2))[:, None, None, None]
        pictures = (grey + contrast * (pictures - grey)).clamp(0, 1)
        cosine, sine = (saturation * function(2 * math.pi * hue) for function in (math.cos, math.sin))
        turn = to_yiq.new_tensor([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
        matrix = torch.linalg.inv(to_yiq) @ turn @ to_yiq
        pictures = torch.einsum('dc,nchw->ndhw', matrix, pictures).clamp(0, 1)
        return (pictures * 255 - mean) / std


def blur(images: Tensor, sigma: float) -> Tensor:
    """Blur images (N, C, H, W) with a Gaussian of ``sigma`` pixels, cut off at a tenth of each side."""
    for axis, size in ((2, images.shape[2]), (3, images.shape[3])):
        radius = max(1, size // 20)
        places = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
        kernel = torch.softmax(-(places**2) / (2 * sigma**2), 0)
        along = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        padding = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        weight = kernel.view(along).repeat(images.shape[1], 1, 1, 1)
        images = F.conv2d(F.pad(images, padding, mode='reflect'), weight, groups=images.shape[1])
    return images
