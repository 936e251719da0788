"""Checkpoints: found again after a crash, fitting the network, holding all that a run needs."""

from cda_mmseg.engine.checkpointing.resume_point import ResumePoint, find_resume_point, read_resume_point
from cda_mmseg.engine.checkpointing.validation_record import validation_due

__all__ = ['ResumePoint', 'find_resume_point', 'read_resume_point', 'validation_due']
