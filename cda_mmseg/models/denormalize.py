"""Images as generator and discriminator see them."""

from mmseg.models import SegDataPreProcessor
from torch import Tensor


def denormalize(images: Tensor, preprocessor: SegDataPreProcessor) -> Tensor:
    """Undo the normalisation and scale pixel values from [0, 255] to [-1, 1], the range of the generator's Tanh.

    Without it the discriminator tells real from rebuilt by range alone and wins at once.

    Args:
        images (Tensor): Normalised images (N, 3, H, W), in the network's channel order.
        preprocessor (SegDataPreProcessor): What normalised them.

    Returns:
        Tensor: Pictures (N, 3, H, W) in [-1, 1].
    """
    pictures = images.clone()
    if hasattr(preprocessor, 'mean'):
        pictures = pictures.mul_(preprocessor.std).add_(preprocessor.mean)
    return pictures.div_(127.5).sub_(1)
