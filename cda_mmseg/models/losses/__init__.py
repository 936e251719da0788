"""Segmentation losses on the probability of the labelled class, their warm start, and the adversarial loss."""

from cda_mmseg.models.losses.conservative_loss import ConservativeLoss
from cda_mmseg.models.losses.cross_entropy_loss import SoftmaxCrossEntropyLoss
from cda_mmseg.models.losses.flooding_loss import FloodingLoss
from cda_mmseg.models.losses.focal_loss import SoftmaxFocalLoss
from cda_mmseg.models.losses.gan_loss import GANLoss
from cda_mmseg.models.losses.homogeneous_loss import CubicLoss, PiecewiseCubicLoss
from cda_mmseg.models.losses.pixel_loss import PixelLoss
from cda_mmseg.models.losses.warm_start_loss import WarmStartLoss

__all__ = [
    'ConservativeLoss',
    'CubicLoss',
    'FloodingLoss',
    'GANLoss',
    'PiecewiseCubicLoss',
    'PixelLoss',
    'SoftmaxCrossEntropyLoss',
    'SoftmaxFocalLoss',
    'WarmStartLoss',
]
