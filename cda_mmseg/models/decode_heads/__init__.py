"""Decode heads that mmseg does not have."""

from cda_mmseg.models.decode_heads.daformer_head import DAFormerHead
from cda_mmseg.models.decode_heads.deeplabv2_head import DeepLabV2Head
from cda_mmseg.models.decode_heads.fcn8s_head import FCN8sHead

__all__ = ['DAFormerHead', 'DeepLabV2Head', 'FCN8sHead']
