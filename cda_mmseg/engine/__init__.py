"""What trains: loop, sample order, optimizers, hooks and checkpoints."""

from cda_mmseg.engine import checkpointing, hooks
from cda_mmseg.engine.loops import UDATrainLoop
from cda_mmseg.engine.optim import AutocastOptimWrapper, PlayerOptimWrapperConstructor, PlayerOptimWrapperDict
from cda_mmseg.engine.progress import TrainingProgress
from cda_mmseg.engine.sampling import PositionedDataset, PositionSampler, SampleOrder

__all__ = [
    'AutocastOptimWrapper',
    'PlayerOptimWrapperConstructor',
    'PlayerOptimWrapperDict',
    'PositionSampler',
    'PositionedDataset',
    'SampleOrder',
    'TrainingProgress',
    'UDATrainLoop',
    'checkpointing',
    'hooks',
]
