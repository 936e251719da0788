"""Pictures as generator and discriminator see them."""

import torch
from mmseg.models import SegDataPreProcessor
from torch import Tensor


def to_pictures(images: Tensor, preprocessor: SegDataPreProcessor) -> Tensor:
    """Undo the normalisation and scale pixel values from [0, 255] to [-1, 1], the range of the generator's Tanh.

    Without it the discriminator tells real from rebuilt by range alone and wins at once.

    Args:
        images (Tensor): Normalised images (N, 3, H, W), in the network's channel order.
        preprocessor (SegDataPreProcessor): What normalised them.

    Returns:
        Tensor: Pictures (N, 3, H, W) in [-1, 1].
    """
    if not preprocessor._enable_normalize:
        return images / 127.5 - 1
    # One multiplication and one addition per pixel: (x * std + mean) / 127.5 - 1.
    return torch.addcmul(preprocessor.mean / 127.5 - 1, images, preprocessor.std / 127.5)
