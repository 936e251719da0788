"""The baseline: supervised training on the source alone."""

from mmseg.registry import MODELS
from torch import Tensor

from cda_mmseg.models.players import Domain
from cda_mmseg.models.segmentors.step import Step
from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor


@MODELS.register_module()
class SourceOnlySegmentor(UDASegmentor):
    """Train on the labelled source only (the paper's 'NoAdapt').

    It shares seeds, sample order and augmentation with the adaptation methods, and the very dropout masks with those
    that do not send both domains through E as one batch, so that a comparison differs in the method alone.
    """

    @property
    def domains(self) -> tuple[Domain, ...]:
        """tuple[str, ...]: The source alone; the target is not even loaded."""
        return ('source',)

    def adapt(self, step: Step) -> dict[str, Tensor]:
        """Update the encoder on the source's labels.

        Args:
            step (Step): The step; only its source batch is read.

        Returns:
            dict[str, Tensor]: Scalars to log.
        """
        with step.context('encoder'):
            encodings = step.forwards['encoder']({'source': step.images['source']}, ('source',), step.slots)
            losses = self.segmentation_losses(encodings['source'][1], step.batches['source']['data_samples'])
        total = self.update('encoder', {name: value for name, value in losses.items() if 'loss' in name}, step)
        return {'loss': total, **losses}
