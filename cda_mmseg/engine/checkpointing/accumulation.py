"""When a run may be saved."""

from mmengine.optim import OptimWrapper, OptimWrapperDict


def at_end_of_accumulation(optim_wrapper: OptimWrapper | OptimWrapperDict) -> bool:
    """Tell whether no accumulated gradient is waiting for its update.

    Checkpoints hold no gradients: one saved inside an accumulation cycle would lose those gathered so far.

    Args:
        optim_wrapper (OptimWrapper | OptimWrapperDict): The run's optimizers, asked after a training step.

    Returns:
        bool: Whether every optimizer was updated in that step.
    """
    wrappers = optim_wrapper.values() if isinstance(optim_wrapper, OptimWrapperDict) else [optim_wrapper]
    return all(wrapper.should_update() for wrapper in wrappers)
