"""Methods: one segmentor file each."""

from cda_mmseg.models.segmentors.adversarial_uda import AdversarialUDASegmentor
from cda_mmseg.models.segmentors.source_only import SourceOnlySegmentor
from cda_mmseg.models.segmentors.uda_segmentor import NonFiniteLossError, UDASegmentor, UnreachedParametersError

__all__ = [
    'AdversarialUDASegmentor',
    'NonFiniteLossError',
    'SourceOnlySegmentor',
    'UDASegmentor',
    'UnreachedParametersError',
]
