"""Backbones that mmseg does not have."""

from cda_mmseg.models.backbones.efficientnet_lite import EfficientNetLite0
from cda_mmseg.models.backbones.transformers_backbone import TransformersBackbone
from cda_mmseg.models.backbones.vgg import VGG

__all__ = ['VGG', 'EfficientNetLite0', 'TransformersBackbone']
