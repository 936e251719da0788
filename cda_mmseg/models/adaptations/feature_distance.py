"""Distance of the backbone's features to those it began with (DAFormer)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from cda_mmseg.models.adaptations.adaptation import Adaptation, Encoded, Log
from cda_mmseg.models.adaptations.initial_backbone import initial_backbone
from cda_mmseg.models.losses.checks import check_number
from cda_mmseg.models.losses.divisor import mean_divisor

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors.step import Step
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor

CITYSCAPES_THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)
"""DAFormer's classes: traffic light, traffic sign, and all from person on."""


@MODELS.register_module()
class FeatureDistance(Adaptation):
    """Keep the backbone's last map on source images close to what its initial weights make of them.

    The thing-class ImageNet feature distance of `DAFormer <https://arxiv.org/abs/2111.14887>`_, section 3.3: the mean
    L2 distance over the channels, at cells of which one of ``classes`` covers at least ``min_share``. Any number of
    processes has the mean over the cells of all of them; without such cells the loss is 0 (DAFormer's is NaN).

    The initial weights are those of ``model.backbone.init_cfg``, read again when a run is resumed; after
    ``--branch-from`` or ``load_from`` too they are the pretrained ones, not those of the warm start.

    Args:
        weight (float): Weight of the loss, greater than 0.
        classes (Sequence[int] | None): Class numbers; None takes all cells, labelled or not. Cityscapes' things are
            6, 7 and 11 to 18.
        min_share (float): Share of a cell's pixels, above .5, so that a cell has one class at most.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If a number is out of its range, or a class is not one of the model's.
        TypeError: If the segmentor has a neck, behind which the backbone's maps are not to be had.
    """

    terms_of = ('source',)

    def __init__(
        self,
        weight: float = 0.005,
        classes: Sequence[int] | None = CITYSCAPES_THINGS,
        min_share: float = 0.75,
        begin: float = 0.0,
        end: float = 1.0,
    ) -> None:
        super().__init__(begin, end)
        self.weight = check_number('FeatureDistance', 'weight', weight, above=0)
        self.classes = None if classes is None else tuple(classes)
        self.min_share = check_number('FeatureDistance', 'min_share', min_share, above=0.5, at_most=1)

    def connect(self, segmentor: UDASegmentor) -> None:
        """Refuse networks without the map; the initial weights wait for the start of the run."""
        if segmentor.with_neck:
            raise TypeError('FeatureDistance compares maps of the backbone, and this model has a neck behind it.')
        unknown = [number for number in self.classes or () if number not in range(segmentor.num_classes)]
        if unknown or self.classes == ():
            raise ValueError(
                f'FeatureDistance: classes must be some of 0 to {segmentor.num_classes - 1}, or None for all cells, '
                f'got {self.classes}.'
            )
        # Inside a tuple: the segmentor is no child of its adaptation.
        self._segmentor = (segmentor,)
        self._initial: tuple = ()

    def study(self, datasets: Mapping[str, Dataset]) -> None:
        """Make the initial backbone: no child, so that no checkpoint holds what the config names."""
        self._initial = (initial_backbone(self._segmentor[0]),)

    def encoder_losses(self, encoded: Encoded, step: Step) -> Log:
        """Compare the last maps."""
        if not self._initial:
            raise RuntimeError('FeatureDistance has no initial backbone yet: call study() before the first step.')
        now = encoded.features['source'][-1]
        with torch.no_grad():
            before = self._initial[0](step.images['source'])
        before = before if isinstance(before, Tensor) else before[-1]
        dtype = torch.promote_types(now.dtype, torch.float32)
        counts = self._cells(step.labels['source'], now.shape[2:])
        distances = torch.linalg.vector_norm(now.to(dtype) - before.to(dtype), dim=1)
        divisor = mean_divisor(counts.long(), ~counts, None, distances.dtype)
        loss = (distances * counts).sum() / divisor.where(divisor > 0, 1)
        return {'source.loss_feature_distance': self.weight * loss}

    def _cells(self, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """Find the cells (N, h, w) of maps that count, by labels (N, H, W)."""
        if self.classes is None:
            return torch.ones(len(labels), *size, dtype=torch.bool, device=labels.device)
        of_class = torch.stack([labels == number for number in self.classes], 1).float()
        return (F.adaptive_avg_pool2d(of_class, size) >= self.min_share).any(1)
