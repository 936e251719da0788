"""The segmentor's backbone as training finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS

from cda_mmseg.utils.randomness import seeded_torch

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor


def initial_backbone(segmentor: UDASegmentor) -> BaseModule:
    """Build a segmentor's backbone anew with the weights of its ``init_cfg``, wherever the run stands.

    Parts that ``init_cfg`` leaves random are the same in every run. A copy would keep what training has made of parts
    that no initialisation touches, such as running statistics.

    Args:
        segmentor (UDASegmentor): The segmentor.

    Returns:
        BaseModule: The backbone, frozen, in evaluation mode, of the segmentor's device and type.
    """
    with seeded_torch(0, torch.device('cpu')):
        backbone = MODELS.build(segmentor.backbone_config)
        backbone.init_weights()
    backbone.requires_grad_(False)
    backbone.eval()  # which does not return the network in mmseg's ResNet
    return backbone.to(next(segmentor.backbone.parameters()))
