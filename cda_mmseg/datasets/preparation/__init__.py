"""Prepared copies: a training data set resized once, so that training need not do it for every sample."""

from .checks import check_prepared_copy
from .prepare import Outcome, prepare
from .record import RECORD, read_record
from .verify import verify

__all__ = ['RECORD', 'Outcome', 'check_prepared_copy', 'prepare', 'read_record', 'verify']
