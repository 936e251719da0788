"""The segmentor's backbone as training finds it."""

import copy

import torch
from mmengine.model import BaseModule
from torch import nn

from cda_mmseg.utils.randomness import seeded_torch


def initial_backbone(segmentor: nn.Module) -> BaseModule:
    """Copy a segmentor's backbone with the weights of its ``init_cfg``, wherever the run stands.

    Parts that ``init_cfg`` leaves random are the same in every run.

    Args:
        segmentor (nn.Module): An ``EncoderDecoder``.

    Returns:
        BaseModule: The copy, frozen, in evaluation mode and on the segmentor's device.
    """
    device = next(segmentor.backbone.parameters()).device
    backbone = copy.deepcopy(segmentor.backbone).requires_grad_(False)
    backbone.eval()  # which does not return the network in mmseg's ResNet
    for module in backbone.modules():
        if hasattr(module, '_is_init'):
            module._is_init = False
    with seeded_torch(0, torch.device('cpu')):
        backbone.to('cpu').init_weights()
    return backbone.to(device)
