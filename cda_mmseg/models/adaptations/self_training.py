"""Self-training with an averaged teacher and mixed images (DACS, DAFormer, MIC)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from cda_mmseg.models.adaptations.adaptation import Adaptation, Level, Log
from cda_mmseg.models.adaptations.class_mix import draw_class_mask
from cda_mmseg.models.adaptations.photometric import PhotometricJitter
from cda_mmseg.models.adaptations.teacher import Teacher
from cda_mmseg.models.losses.checks import check_number
from cda_mmseg.models.losses.pixel_loss import class_scores

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors.step import Step
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor


@MODELS.register_module()
class SelfTraining(Adaptation):
    """Train on the target with the labels of an averaged teacher (DACS, Tranheden et al. 2021; DAFormer; MIC).

    One step: the teacher moves towards the student, momentum min(1 - 1/(i + 1), ``momentum``) with i the student's
    steps since the adaptation began; it labels the target; half of each source image's classes are pasted onto a target
    image, with the teacher's labels around them; the student learns the mixed image, jittered and blurred. Target
    pixels weigh q, the share of the target's pixels on all processes of which the teacher is surer than ``threshold``.

    It differs from DACS and DAFormer so: the teacher's BatchNorm is in evaluation mode; a run usually begins with
    ``begin`` of supervised training, without which a small network collapses; the loss divides by labelled pixels, of
    which a mixed image has no others. More in docs/methods.md.

    Args:
        momentum (float): Largest momentum of the teacher, in [0, 1].
        threshold (float): Confidence from which a target pixel counts into q, in [0, 1].
        mixes (bool): Whether classes of the source are pasted; otherwise the jittered target itself is learnt.
        loss (dict | None): Config of the loss on pseudo labels; softmax cross entropy by default, whatever the source's
            loss is. Auxiliary heads use their own.
        loss_weight (float): Weight of that loss.
        jitter (dict | None): Arguments of :class:`PhotometricJitter`; None switches it off.
        ignored_rows (tuple[int, int]): Rows at the top and at the bottom whose pseudo labels weigh nothing, such as a
            bonnet; after q, as in DAFormer.
        masked_weight (float): Weight of the loss on masked target images (MIC); 0 switches it off.
        masked_ratio (float): Share of blocks that are masked.
        block_size (int): Side of a block in pixels.
        begin (float): Share of the iterations at which it begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If a number is out of its range.
    """

    terms_of = ()

    def __init__(
        self,
        momentum: float = 0.99,
        threshold: float = 0.968,
        mixes: bool = True,
        loss: dict | None = None,
        loss_weight: float = 1.0,
        jitter: dict | None = None,
        ignored_rows: tuple[int, int] = (0, 0),
        masked_weight: float = 0.0,
        masked_ratio: float = 0.7,
        block_size: int = 64,
        begin: float = 0.0,
        end: float = 1.0,
    ) -> None:
        super().__init__(begin, end)
        owner = 'SelfTraining'
        self.momentum = check_number(owner, 'momentum', momentum, at_least=0, at_most=1)
        self.threshold = check_number(owner, 'threshold', threshold, at_least=0, at_most=1)
        self.mixes = mixes
        self.loss = MODELS.build(loss or dict(type='SoftmaxCrossEntropyLoss'))
        self.loss_weight = check_number(owner, 'loss_weight', loss_weight, at_least=0)
        self.jitter = None if jitter is None else PhotometricJitter(**jitter)
        self.ignored_rows = tuple(ignored_rows)
        if len(self.ignored_rows) != 2 or any(not isinstance(rows, int) or rows < 0 for rows in self.ignored_rows):
            raise ValueError(f'SelfTraining: ignored_rows must be two numbers of rows, got {ignored_rows!r}.')
        self.masked_weight = check_number(owner, 'masked_weight', masked_weight, at_least=0)
        self.masked_ratio = check_number(owner, 'masked_ratio', masked_ratio, at_least=0, at_most=1)
        self.block_size = int(check_number(owner, 'block_size', block_size, at_least=1))

    def connect(self, segmentor: UDASegmentor) -> None:
        """Make the teacher, a copy of the segmentation network."""
        if self.jitter is not None and segmentor.image_channels != 3:
            print_log(
                f'SelfTraining: of its jitter only the blur is in force, because images of {segmentor.image_channels} '
                'channels have no brightness, contrast, saturation and hue of RGB. jitter=None switches it off.',
                logger='current',
                level=logging.WARNING,
            )
        # Inside a tuple: the segmentor is no child of its adaptation.
        self._segmentor = (segmentor,)
        self.teacher = Teacher(segmentor.encoder)

    @property
    def reads(self) -> dict[str, Level]:
        """dict[str, str]: The target's images; the student sees the mixed ones."""
        return {'target': 'images'}

    def prepare(self, step: Step) -> None:
        """Move the teacher, if the student has stepped since it last did."""
        wrapper, begun = step.optim_wrapper['encoder'], self.begun_for(step.progress)
        if begun == 0 or wrapper.should_update():
            steps = begun // wrapper._accumulative_counts
            self.teacher.follow(step.players['encoder'], min(1 - 1 / (steps + 1), self.momentum))

    def separate_losses(self, step: Step) -> Iterator[Log]:
        """Yield the loss on the mixed images, then the one on the masked ones."""
        confidence, labels = class_scores(self.teacher.predict(step.images['target']).float()).softmax(1).max(1)
        sure = all_reduced_mean((confidence >= self.threshold).float().mean())
        if sum(self.ignored_rows) >= labels.shape[1]:
            raise ValueError(
                f'SelfTraining: ignored_rows={self.ignored_rows} leave nothing of images of {labels.shape[1]} rows: '
                'lower them.'
            )
        weight = torch.ones_like(confidence) * sure
        weight[:, : self.ignored_rows[0]] = 0
        weight[:, labels.shape[1] - self.ignored_rows[1] :] = 0

        images, mixed_labels, mixed_weight = step.images['target'], labels, weight
        pasted = torch.zeros_like(labels, dtype=torch.bool)
        if self.mixes:
            images, mixed_labels, mixed_weight, pasted = self._mix(labels, weight, step)
        scores = self._scores('mixed', self._jitter(images, 'mixed', step), step)
        log = self._losses('mixed', scores, mixed_labels, mixed_weight)
        yield {
            **{name: self.loss_weight * value if 'loss' in name else value for name, value in log.items()},
            'self_training.confidence': sure,
            'self_training.agreement': agreement(scores[0], labels, ~pasted),
            'self_training.share_distance': self._share_distance(labels, step.labels['source']),
        }
        if self.masked_weight > 0:
            images = self._jitter(step.images['target'], 'masked', step)
            with step.seeded('self_training/masks'):
                images = images * draw_block_mask(images, self.masked_ratio, self.block_size)
            log = self._losses('masked', self._scores('masked', images, step), labels, weight)
            yield {name: self.masked_weight * value if 'loss' in name else value for name, value in log.items()}

    def _mix(self, labels: Tensor, weight: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Paste half of the classes of source images onto the target's, and say where."""
        source, target = step.images['source'], step.images['target']
        if source.shape[1:] != target.shape[1:]:
            raise ValueError(
                f'SelfTraining mixes images of one size, but the source has {tuple(source.shape[2:])} and the target '
                f'{tuple(target.shape[2:])} (height, width): crop both domains alike.'
            )
        partners = torch.arange(len(target), device=target.device) % len(source)
        source, source_labels = source[partners], step.labels['source'][partners]
        with step.seeded('self_training/class_mix'):
            mask = draw_class_mask(source_labels, self._segmentor[0].num_classes)
        return (
            torch.where(mask[:, None], source, target),
            torch.where(mask, source_labels, labels),
            torch.where(mask, torch.ones_like(weight), weight),
            mask,
        )

    def _jitter(self, images: Tensor, name: str, step: Step) -> Tensor:
        if self.jitter is None:
            return images
        with step.seeded(f'self_training/jitter/{name}'):
            return self.jitter(images, step.preprocessor)

    def _scores(self, name: str, images: Tensor, step: Step) -> list[Tensor]:
        return step.encode({name: images}, [name]).scores[name]

    def _losses(self, name: str, scores: list[Tensor], labels: Tensor, weight: Tensor) -> Log:
        return self._segmentor[0].segmentation_losses(scores, labels, f'{name}.', weight, self.loss)

    def _share_distance(self, pseudo_labels: Tensor, labels: Tensor) -> Tensor:
        """Compute half the L1 distance between the class shares in the teacher's and in the source's labels."""
        shares = []
        for values in (pseudo_labels, labels):
            counts = torch.zeros(256, device=values.device).index_add_(
                0, values.flatten(), torch.ones(values.numel(), device=values.device)
            )[: self._segmentor[0].num_classes]
            shares.append(counts / counts.sum().clamp(min=1))
        return (shares[0] - shares[1]).abs().sum() / 2


def all_reduced_mean(value: Tensor) -> Tensor:
    """Return the mean of a scalar over all processes."""
    all_reduce(value, 'mean')
    return value


@torch.no_grad()
def agreement(scores: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """Compute the share of pixels whose scores (N, C, h, w) are highest for the teacher's label.

    Args:
        scores: The student's, at whose resolution it is measured.
        labels: The teacher's, (N, H, W), int64.
        counted: Which pixels are the target's, (N, H, W).
    """
    labels, counted = (
        F.interpolate(one[:, None].float(), scores.shape[2:], mode='nearest-exact')[:, 0] for one in (labels, counted)
    )
    return ((class_scores(scores).argmax(1) == labels) * counted).sum() / counted.sum().clamp(min=1)


def draw_block_mask(images: Tensor, ratio: float, block_size: int) -> Tensor:
    """Draw which blocks of images (N, C, H, W) stay (MIC, Hoyer et al. 2023): (N, 1, H, W), 0 in a share ``ratio``."""
    height, width = (max(1, round(side / block_size)) for side in images.shape[2:])
    kept = torch.rand(len(images), 1, height, width, device=images.device) > ratio
    return F.interpolate(kept.to(images.dtype), size=images.shape[2:], mode='nearest')
