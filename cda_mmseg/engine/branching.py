"""Start a run where another one stands, under a config of its own."""

import warnings

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.runner import Runner

from cda_mmseg.engine.checkpointing.resume_point import read_resume_point
from cda_mmseg.engine.optim import PlayerOptimWrapperDict
from cda_mmseg.utils.loading.errors import UnresumableCheckpointError

# Of the run that is left: what its data loaders have handed out, and whether it was validated where it stands.
_CARRIED_OVER = ('samples_consumed', 'world_size', 'last_validation')


def branch(runner: Runner, path: str) -> None:
    """Take weights, matching optimizer states and the iteration from a checkpoint, and everything else from the config.

    Arms of a comparison share a warm start so. Players that the checkpoint does not know start fresh; learning rates,
    weight decay and schedules are the config's at this iteration; the log says what was taken.

    Args:
        runner (Runner): A run about to train, with its optimizers and schedules built.
        path (str): A checkpoint of another run.

    Raises:
        UnresumableCheckpointError: If it holds no training state, or the run would be over.
    """
    iteration = read_resume_point(path).iteration
    if not 0 < iteration < runner.max_iters:
        raise UnresumableCheckpointError(
            f'{path} stands at iteration {iteration}, but train_cfg.max_iters is {runner.max_iters}: there is nothing '
            'left to train. Branch from an earlier checkpoint or set a larger max_iters.'
        )
    checkpoint = runner.load_checkpoint(path)
    runner.train_loop._iter = iteration
    for key in _CARRIED_OVER:
        value = checkpoint['message_hub']['runtime_info'].get(key)
        if value is not None:
            runner.message_hub.update_info(key, value)
    lines = [f"This run branches off {path} at iteration {iteration}. Everything but the following is the config's:"]
    lines += _weights_taken(runner, checkpoint['state_dict'])
    lines += [
        f'  optimizer of the {player}: {_take_state(runner.optim_wrapper, player, checkpoint["optimizer"])}'
        for player in runner.optim_wrapper.keys()  # noqa: SIM118  no dict
    ]
    schedulers = runner.param_schedulers or {}
    groups = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    for group in groups:
        fast_forward(group, iteration)
    runner.logger.info('\n'.join(lines))


def fast_forward(schedulers: list[_ParamScheduler], iterations: int) -> None:
    """Bring fresh schedulers, and the optimizers they set, to where a run stands."""
    with warnings.catch_warnings():
        # torch and mmengine warn of schedulers that step before their optimizer has.
        warnings.simplefilter('ignore')
        for _ in range(iterations):
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()


def _weights_taken(runner: Runner, weights: dict[str, torch.Tensor]) -> list[str]:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    own = model.state_dict()
    taken = {name for name, value in own.items() if name in weights and weights[name].shape == value.shape}
    return [
        f'  weights: {len(taken)} of {len(own)}',
        f'  started fresh: {_parts(own.keys() - taken)}',
        f'  left behind: {_parts(weights.keys() - taken)}',
    ]


def _parts(names: set[str]) -> str:
    """Name the parts of a model that weights belong to."""
    parts = {'.'.join(name.split('.')[: 3 if name.startswith('adaptations.') else 1]) for name in names}
    return ', '.join(sorted(parts)) or 'nothing'


def _take_state(wrappers: PlayerOptimWrapperDict, player: str, saved: dict) -> str:
    wrapper: OptimWrapper = wrappers[player]
    if player not in saved:
        return 'fresh'
    if misfit := wrappers.misfit(player, saved[player]):
        return f'fresh, because {misfit}'
    wrappers.load_player(player, {**wrapper.optimizer.state_dict(), 'state': saved[player]['state']})
    return "its state is taken, rates and weight decay are the config's"
