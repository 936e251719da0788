"""The picture that a generator makes of an image's embedding."""

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmseg.models.segmentors import BaseSegmentor

from cda_mmseg.datasets.transforms.tag_domain import role_of
from cda_mmseg.models.adaptations import find_adversary


def reconstruct(model: BaseSegmentor, item: dict) -> np.ndarray | None:
    """Rebuild an image, RGB uint8 (h, w, 3) at the size of the network's input; of other channels the first as grey.

    Args:
        model: The segmentor, in evaluation mode.
        item: The image, as the validation's data set gives it.

    Returns:
        The picture; None if the model has no generator.
    """
    adversary = find_adversary(model)
    if adversary is None:
        return None
    batch = model.data_preprocessor(pseudo_collate([item]), training=False)
    sample = batch['data_samples'][0]
    with torch.no_grad():
        inputs = batch['inputs']
        features, size = model.encoder.embed(inputs), tuple(inputs.shape[2:])
        picture = adversary.reconstruct(features, role_of(sample.domain), size)[0]
    height, width = sample.img_shape[:2]
    picture = ((picture[:, :height, :width].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    if len(picture) != 3:
        picture = picture[:1].expand(3, -1, -1)
    elif not model.data_preprocessor._channel_conversion:
        # mmcv loads BGR, so the network works in RGB where its preprocessor converts, in BGR otherwise.
        picture = picture.flip(0)
    return picture.permute(1, 2, 0).cpu().numpy()
