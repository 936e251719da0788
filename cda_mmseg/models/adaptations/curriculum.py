"""Curriculum adaptation: learn what the target's labels are like before what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from cda_mmseg.datasets.class_counts import count_classes
from cda_mmseg.datasets.superpixels import NO_SUPERPIXEL
from cda_mmseg.datasets.transforms.load_superpixels import superpixels_of
from cda_mmseg.models.adaptations.adaptation import Adaptation, Encoded, Level, Log
from cda_mmseg.models.adaptations.class_maps import ClassMaps
from cda_mmseg.models.adaptations.label_estimates import estimate, picture_paths
from cda_mmseg.models.losses.checks import check_number

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors.step import Step
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor


@MODELS.register_module()
class Curriculum(Adaptation):
    """Hold the target's predictions to estimated label distributions of pictures and of landmark superpixels.

    `Curriculum Domain Adaptation for Semantic Segmentation of Urban Scenes <https://arxiv.org/abs/1707.09465>`_. Easier
    questions are answered first: how the classes are distributed over a target picture, and over those of its
    superpixels that are easy to classify. The answers p come from regressions that are fitted to the source's labels;
    the loss is their cross entropy with the network's own, ``-sum_c p_c log q_c``, where ``q_c`` is proportional to the
    mean over the region of ``(y_c / max_c' y_c') ** sharpness``, y being the predicted probabilities.

    Deviations from the publication: SLIC in place of LSC superpixels; features of the segmentor's own backbone with its
    initial weights in place of Inception-ResNet-v2 and of PASCAL-Context scores, without those of neighbours; softmax
    regression in place of support vector machines; the most confident superpixels of each picture; a mean over its
    landmarks in place of a sum; the network's distributions are those of the score map.

    The target's pipeline needs ``LoadSuperpixels`` behind ``LoadImage``, and has to keep pictures whole, apart from a
    flip: a crop has another distribution than its picture.

    Args:
        distribution_weight (float): Weight of the pictures' term; 0 switches it off.
        superpixel_weight (float): Weight of the superpixels' term; 0 switches it off.
        sharpness (float): Exponent K: 6 in the paper, 5 in the released code; larger ones are unstable.
        pictures (int): Labelled pictures of the source from which the estimates are learnt.
        landmark_share (float): Share of a picture's superpixels that become landmarks, in (0, 1].
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If a number is out of its range, or both weights are 0.
    """

    terms_of = ('target',)

    def __init__(
        self,
        distribution_weight: float = 0.1,
        superpixel_weight: float = 0.1,
        sharpness: float = 6.0,
        pictures: int = 500,
        landmark_share: float = 0.3,
        begin: float = 0.0,
        end: float = 1.0,
    ) -> None:
        super().__init__(begin, end)
        owner = 'Curriculum'
        self.distribution_weight = check_number(owner, 'distribution_weight', distribution_weight, at_least=0)
        self.superpixel_weight = check_number(owner, 'superpixel_weight', superpixel_weight, at_least=0)
        if not self.distribution_weight + self.superpixel_weight:
            raise ValueError('Curriculum: distribution_weight and superpixel_weight are both 0: leave it out instead.')
        self.sharpness = check_number(owner, 'sharpness', sharpness, above=0)
        self.pictures = int(check_number(owner, 'pictures', pictures, at_least=1))
        self.landmark_share = check_number(owner, 'landmark_share', landmark_share, above=0, at_most=1)
        self._rows: dict[str, int] = {}

    @property
    def reads(self) -> dict[str, Level]:
        """dict[str, str]: The target's class scores."""
        return {'target': 'scores'}

    def connect(self, segmentor: UDASegmentor) -> None:
        """Find the head; the estimates wait for the data."""
        # Inside a tuple: the segmentor is no child of its adaptation.
        self._segmentor = (segmentor,)
        self._class_maps = ClassMaps('Curriculum', 'decode', segmentor)
        # Not persistent: study() finds the same ones again in a resumed run.
        self.register_buffer('distributions', torch.empty(0, self._class_maps.classes), persistent=False)
        self.register_buffer('landmarks', torch.empty(0, 256, dtype=torch.uint8), persistent=False)

    def study(self, datasets: Mapping[str, Dataset]) -> None:
        """Estimate the target's label distributions and landmarks, once; they are kept on the disk."""
        source, target = datasets['source'], datasets['target']
        superpixels = superpixels_of(target)
        if superpixels is None:
            raise TypeError(
                "Curriculum needs superpixels: put dict(type='LoadSuperpixels') behind dict(type='LoadImage') in the "
                'pipeline of target_dataloader.dataset.'
            )
        found = estimate(
            self._segmentor[0], source, target, superpixels, count_classes(source), self.pictures, self.landmark_share
        )
        self.distributions = torch.from_numpy(found['distributions']).to(self.distributions)
        self.landmarks = torch.from_numpy(found['landmarks']).to(self.landmarks)
        self._rows = {path: row for row, path in enumerate(picture_paths(target))}

    def encoder_losses(self, encoded: Encoded, step: Step) -> Log:
        """Compare the network's distributions with the estimated ones."""
        if not self._rows:
            raise RuntimeError('Curriculum has not seen the data yet: call study() before the first step.')
        scores = self._class_maps.scores(encoded, 'target')
        # (y_c / max y) ** K = exp(K (s_c - max s)) of the scores s.
        answers = self.sharpness * (scores - scores.amax(1, keepdim=True))
        rows = [self._rows[sample.metainfo['img_path']] for sample in step.samples['target']]
        log: Log = {}
        if self.distribution_weight > 0:
            log_shares = answers.flatten(2).logsumexp(2).log_softmax(1)
            loss = -(self.distributions[rows] * log_shares).sum(1).mean()
            log['target.loss_distribution'] = self.distribution_weight * loss
        if self.superpixel_weight > 0:
            height, width = step.images['target'].shape[2:]
            maps = torch.stack([one.gt_sem_seg.data for one in step.samples['target']])[..., :height, :width].float()
            maps = F.interpolate(maps, size=scores.shape[2:], mode='nearest-exact').long().flatten(2)[:, 0]
            losses = [
                landmark_loss(one.flatten(1), regions, self.landmarks[row])
                for one, regions, row in zip(answers, maps, rows, strict=True)
            ]
            log['target.loss_superpixels'] = self.superpixel_weight * torch.stack(losses).mean()
        return log


def landmark_loss(answers: Tensor, regions: Tensor, classes: Tensor) -> Tensor:
    """Compute the mean cross entropy of landmarks' classes with the shares that the answers give them.

    Args:
        answers (Tensor): Logarithms of what is averaged over a region, (C, P).
        regions (Tensor): Region of each pixel, (P,), int64 in [0, 255].
        classes (Tensor): Class of each region, (256,), uint8; 255 for those that are no landmarks.

    Returns:
        Tensor: The loss; 0 if no pixel lies in a landmark.
    """
    index = regions.expand_as(answers)
    largest = torch.full((len(answers), 256), -torch.inf, dtype=answers.dtype, device=answers.device)
    largest = largest.scatter_reduce(1, index, answers.detach(), 'amax')
    is_there = largest[0].isfinite()
    largest = largest.where(is_there, 0)
    sums = torch.zeros_like(largest).scatter_add(1, index, (answers - largest.gather(1, index)).exp())
    log_shares = (sums.where(is_there, 1).log() + largest).log_softmax(0)
    is_landmark = is_there & (classes != NO_SUPERPIXEL)
    of_class = log_shares.gather(0, classes.long().where(is_landmark, 0)[None])[0]
    return -of_class.where(is_landmark, 0).sum() / is_landmark.sum().clamp(min=1)
