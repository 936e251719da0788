"""What can be wrong with a checkpoint."""


class CheckpointError(RuntimeError):
    """Name a checkpoint that cannot be used, and say what to do."""


class UnreadableCheckpointError(CheckpointError):
    """Name a checkpoint that is empty, truncated, damaged or no checkpoint at all."""


class UntrustedCheckpointError(CheckpointError):
    """Name a checkpoint that would run code while it is read, and was therefore refused."""


class UnresumableCheckpointError(CheckpointError):
    """Name a checkpoint that can be read but does not hold what resuming needs."""


class CheckpointWriteError(CheckpointError):
    """Name a checkpoint that could not be written; whatever was complete before still is."""


class NonFiniteStateError(CheckpointError):
    """Name weights or optimizer states that are NaN or infinite: no run can go on with them."""
