"""Which validations a run has behind it.

MMEngine saves iteration N before it validates at N. A kill in between would lose that score, and with it the best one:
on resuming at N the loop goes on to N + 1. So the run keeps the iteration of its last validation in the message hub,
which every checkpoint holds.
"""

from bisect import bisect

from mmengine.runner import Runner

# MMEngine prints whatever in the hub begins with 'train', 'val' or 'test'
_LAST_VALIDATION = 'last_validation'


def record_validation(runner: Runner) -> None:
    """Note that the run was validated where it stands.

    Args:
        runner (Runner): The run, just validated.
    """
    runner.message_hub.update_info(_LAST_VALIDATION, runner.iter)


def validation_due(runner: Runner) -> bool:
    """Tell whether a resumed run stands at a validation that did not take place.

    Args:
        runner (Runner): The run, resumed but not yet trained on.

    Returns:
        bool: Whether the loop would have validated at this iteration, and no validation of it is on record.
    """
    loop = runner.train_loop
    if runner.val_loop is None or loop.iter == 0 or loop.iter < loop.val_begin:
        return False
    interval = loop.dynamic_intervals[bisect(loop.dynamic_milestones, loop.iter + 1) - 1]
    if loop.iter % interval != 0 and loop.iter != loop.max_iters:
        return False
    return runner.message_hub.get_info(_LAST_VALIDATION) != loop.iter
