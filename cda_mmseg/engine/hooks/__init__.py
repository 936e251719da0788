"""What happens around training steps."""

from cda_mmseg.engine.hooks.alarm_hook import AlarmHook
from cda_mmseg.engine.hooks.batch_norm_hook import BatchNormAdaptationHook
from cda_mmseg.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from cda_mmseg.engine.hooks.collection_hook import CollectionHook
from cda_mmseg.engine.hooks.fitting_hook import FittingHook, check_what_is_loaded
from cda_mmseg.engine.hooks.history_hook import BoundedHistoryHook
from cda_mmseg.engine.hooks.stop_hook import StopHook
from cda_mmseg.engine.hooks.teacher_hook import TeacherEvaluationHook

__all__ = [
    'AlarmHook',
    'AtomicCheckpointHook',
    'BatchNormAdaptationHook',
    'BoundedHistoryHook',
    'CollectionHook',
    'FittingHook',
    'StopHook',
    'TeacherEvaluationHook',
    'check_what_is_loaded',
]
