"""What trains: loop, sample order, optimizers, hooks and checkpoints."""

import cda_mmseg.host  # noqa: F401
from cda_mmseg.engine import checkpointing, hooks
from cda_mmseg.engine.composition import compose, read_config
from cda_mmseg.engine.loops import UDATrainLoop
from cda_mmseg.engine.optim import AutocastOptimWrapper, PlayerOptimWrapperConstructor, PlayerOptimWrapperDict
from cda_mmseg.engine.orders import PermutationOrder, RareClassOrder, SampleOrder, SharesOrder
from cda_mmseg.engine.runner import UDARunner
from cda_mmseg.engine.sampling import PositionedDataset, PositionSampler

__all__ = [
    'AutocastOptimWrapper',
    'PermutationOrder',
    'PlayerOptimWrapperConstructor',
    'PlayerOptimWrapperDict',
    'PositionSampler',
    'PositionedDataset',
    'RareClassOrder',
    'SampleOrder',
    'SharesOrder',
    'UDARunner',
    'UDATrainLoop',
    'checkpointing',
    'compose',
    'hooks',
    'read_config',
]
