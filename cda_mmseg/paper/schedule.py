"""Make a training schedule shorter or longer without changing its shape."""

import math

from mmengine.config import Config

# Arguments of mmengine's schedulers that count iterations.
_ITERATION_KEYS = ('begin', 'end', 'milestones', 'T_max', 'total_iters', 'total_steps', 'step_size')

LOGS_PER_RUN = 20
CHECKPOINTS_PER_RUN = 4


def scale_schedule(config: Config, scale: float, validations: int | None = None) -> None:
    """Scale the length of a run: iterations, learning-rate schedule, validations, logging, checkpoints.

    The warm start is a share of the iterations and scales with them.

    Args:
        config (Config): The config to change.
        scale (float): Factor, greater than 0.
        validations (int | None): Number of validations; by default as many as the config has.

    Raises:
        ValueError: If a number is out of range, or a scheduler counts epochs.
    """
    if not 0 < scale < math.inf:
        raise ValueError(f'scale must be a positive number, got {scale}.')
    if validations is not None and validations < 1:
        raise ValueError(f'validations must be at least 1, got {validations}.')

    def scaled(iterations: int) -> int:
        return max(1, round(iterations * scale)) if iterations > 0 else iterations

    schedule = config.train_cfg
    schedule.max_iters = scaled(schedule.max_iters)
    schedule.val_interval = (
        scaled(schedule.val_interval) if validations is None else max(1, schedule.max_iters // validations)
    )
    for name, schedulers in config.param_scheduler.items():
        for scheduler in schedulers:
            if scheduler.get('by_epoch', True):
                raise ValueError(f'param_scheduler.{name} counts epochs; set by_epoch=False in {scheduler}.')
            for key in _ITERATION_KEYS:
                if key in scheduler:
                    value = scheduler[key]
                    scheduler[key] = [scaled(item) for item in value] if key == 'milestones' else scaled(value)
    for hook, times in (('logger', LOGS_PER_RUN), ('checkpoint', CHECKPOINTS_PER_RUN)):
        config.default_hooks[hook].interval = max(
            1, min(config.default_hooks[hook].interval, schedule.max_iters // times)
        )


def keep_warm_start(config: Config, end: int) -> None:
    """Write checkpoints such that one is at the end of the warm start, and is still there when the run ends.

    Args:
        config (Config): The config to change; its schedule has its final length.
        end (int): First iteration after the warm start.
    """
    checkpoints = config.default_hooks.checkpoint
    checkpoints.interval = min(checkpoints.interval, end)
    checkpoints.save_begin = end % checkpoints.interval
    checkpoints.max_keep_ckpts = math.ceil((config.train_cfg.max_iters - end) / checkpoints.interval) + 1
