"""The segmentor that adaptations plug into."""

from cda_mmseg.models.segmentors.adversarial_uda import AdversarialUDASegmentor
from cda_mmseg.models.segmentors.step import NonFiniteLossError, Step, UnreachedParametersError
from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor

__all__ = ['AdversarialUDASegmentor', 'NonFiniteLossError', 'Step', 'UDASegmentor', 'UnreachedParametersError']
