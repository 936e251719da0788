"""Checkpoints: written whole, read without running what they carry, found again after a crash."""

from cda_mmseg.engine.checkpointing.errors import (
    CheckpointError,
    CheckpointWriteError,
    UnreadableCheckpointError,
    UnresumableCheckpointError,
    UntrustedCheckpointError,
)
from cda_mmseg.engine.checkpointing.resume_point import ResumePoint, find_resume_point, read_resume_point
from cda_mmseg.engine.checkpointing.safe_loading import install_safe_loader, load_checkpoint_file
from cda_mmseg.engine.checkpointing.validation_record import validation_due

__all__ = [
    'CheckpointError',
    'CheckpointWriteError',
    'ResumePoint',
    'UnreadableCheckpointError',
    'UnresumableCheckpointError',
    'UntrustedCheckpointError',
    'find_resume_point',
    'install_safe_loader',
    'load_checkpoint_file',
    'read_resume_point',
    'validation_due',
]
