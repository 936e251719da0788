"""Files of weights: fetched, checked for damage, and read without running what they carry."""

import cda_mmseg.host  # noqa: F401
from cda_mmseg.utils.loading.errors import (
    CheckpointError,
    CheckpointWriteError,
    NonFiniteStateError,
    UnreadableCheckpointError,
    UnresumableCheckpointError,
    UntrustedCheckpointError,
)
from cda_mmseg.utils.loading.safe_loading import install_safe_loader, load_checkpoint_file

__all__ = [
    'CheckpointError',
    'CheckpointWriteError',
    'NonFiniteStateError',
    'UnreadableCheckpointError',
    'UnresumableCheckpointError',
    'UntrustedCheckpointError',
    'install_safe_loader',
    'load_checkpoint_file',
]
