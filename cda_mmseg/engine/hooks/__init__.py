"""What happens around training steps."""

from cda_mmseg.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from cda_mmseg.engine.hooks.history_hook import BoundedHistoryHook
from cda_mmseg.engine.hooks.stop_hook import StopHook

__all__ = ['AtomicCheckpointHook', 'BoundedHistoryHook', 'StopHook']
