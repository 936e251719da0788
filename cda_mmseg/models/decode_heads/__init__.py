"""Decode heads that mmseg does not have."""

from cda_mmseg.models.decode_heads.fcn8s_head import FCN8sHead

__all__ = ['FCN8sHead']
