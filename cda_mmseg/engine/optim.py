"""One optimizer per player."""

import copy
import difflib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn
from torch.optim import Optimizer

from cda_mmseg.utils.arguments import lists_arguments
from cda_mmseg.utils.loading.errors import UnresumableCheckpointError

# Updates between two looks at how many of them a float16 scaler has left out; each look waits for the device.
_REPORT_INTERVAL = 50

_ADVICE = 'Resume with the config that wrote it, or start a new run from its weights with load_from.'


class NoUpdateError(RuntimeError):
    """A player's weights never move: its gradients are not finite at any loss scale."""


class PlayerOptimWrapperDict(OptimWrapperDict):
    """Hold the players' optimizers and pass the loop's counts on to each.

    mmengine's container leaves the counts alone, and with gradient accumulation the last, partial cycle would be lost.

    Args:
        parameter_names (Mapping[Tensor, str] | None): Names to call parameters by in errors.
        **optim_wrappers (OptimWrapper): One per player.
    """

    def __init__(self, parameter_names: Mapping[Tensor, str] | None = None, **optim_wrappers: OptimWrapper) -> None:
        super().__init__(**optim_wrappers)
        self.parameter_names = dict(parameter_names or {})
        for name, wrapper in self.items():
            if isinstance(wrapper, AutocastOptimWrapper):
                wrapper.player = name
            if wrapper.clip_grad_kwargs:
                # mmengine logs the norm of every player under one name
                wrapper.grad_name = f'{name}.{wrapper.grad_name}'

    def initialize_count_status(self, model: nn.Module, cur_iter: int, max_iters: int) -> None:
        """Tell every optimizer where the run stands."""
        for wrapper in self.values():
            wrapper.initialize_count_status(model, cur_iter, max_iters)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load all optimizers, see :meth:`load_player`."""
        if sorted(state_dict) != sorted(self.keys()):
            raise UnresumableCheckpointError(
                f'The checkpoint holds optimizers of {sorted(state_dict)}, but this run trains {sorted(self.keys())}. '
                f'{_ADVICE}'
            )
        for name, state in state_dict.items():
            self.load_player(name, state)

    def load_player(self, name: str, state_dict: dict) -> None:
        """Load one optimizer; its kernels stay those of the config, and each state gets its weight's layout in memory.

        A checkpoint keeps the kernels and the layout it was saved with, which change nothing but time. Fused kernels
        read weight and state in the order in which they lie, and trust its shape.

        Args:
            name (str): The player.
            state_dict (dict): What its optimizer wrapper's ``state_dict`` returned.

        Raises:
            UnresumableCheckpointError: If it does not fit, see :meth:`misfit`.
        """
        if misfit := self.misfit(name, state_dict):
            raise UnresumableCheckpointError(f'The optimizer of the {name} cannot be resumed: {misfit}. {_ADVICE}')
        optimizer = self[name].optimizer
        groups = [
            {**saved, **{flag: group[flag] for flag in ('fused', 'foreach') if flag in group}}
            for saved, group in zip(state_dict['param_groups'], optimizer.param_groups, strict=True)
        ]
        self[name].load_state_dict({**state_dict, 'param_groups': groups})
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                is_alike = isinstance(value, Tensor) and value.shape == parameter.shape
                if is_alike and value.stride() != parameter.stride():
                    state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def misfit(self, name: str, state_dict: dict) -> str:
        """Say why a saved optimizer state does not fit a player, down to the shape of every tensor.

        torch compares nothing but the number of parameters, and fused kernels write beyond the end of a smaller state.

        Args:
            name (str): The player.
            state_dict (dict): What its optimizer wrapper's ``state_dict`` returned.

        Returns:
            str: The first thing that does not fit; empty if all does.
        """
        if not {'state', 'param_groups'} <= state_dict.keys():
            return 'it has no state'
        optimizer = self[name].optimizer
        saved_groups, groups = state_dict['param_groups'], optimizer.param_groups
        sizes = [[len(group['params']) for group in side] for side in (saved_groups, groups)]
        if sizes[0] != sizes[1]:
            saved, own = (f'{sum(side)} parameters in {len(side)} groups' for side in sizes)
            return f'it was saved with {saved} (paramwise_cfg), but here has {own}'
        for saved, group in zip(saved_groups, groups, strict=True):
            for index, parameter in zip(saved['params'], group['params'], strict=True):
                state = state_dict['state'].get(index)
                if not state:
                    continue  # never updated
                for key, shape in _state_shapes(optimizer, group, parameter).items():
                    found = tuple(getattr(state[key], 'shape', ())) if key in state else 'missing'
                    if found != shape:
                        parameter_name = self.parameter_names.get(parameter, f'number {index}')
                        return f'{key} of its parameter {parameter_name} is {found} where {shape} is needed'
        return ''

    def report_left_out_updates(self) -> None:
        """Log how many updates float16 has cost each player, at the end of a run.

        Raises:
            NoUpdateError: If a player was never updated.
        """
        for wrapper in self.values():
            if isinstance(wrapper, AutocastOptimWrapper):
                wrapper.report_left_out_updates(final=True)


def _state_shapes(optimizer: Optimizer, group: dict, parameter: Tensor) -> dict[str, tuple[int, ...]]:
    """Find out which tensors an optimizer keeps for a parameter, by letting it take a step that has no data."""
    stand_in = torch.empty_like(parameter, device='meta', requires_grad=True)
    stand_in.grad = torch.empty_like(stand_in, requires_grad=False)
    trial = copy.copy(optimizer)
    trial.param_groups = [{**group, 'params': [stand_in], 'fused': False, 'foreach': False}]
    trial.state = defaultdict(dict)
    # Some look at numbers, which are not there; their state is by then.
    with suppress(Exception):
        type(optimizer).step(trial)
    return {key: tuple(value.shape) for key, value in trial.state[stand_in].items() if isinstance(value, Tensor)}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PlayerOptimWrapperConstructor:
    """Build one optimizer wrapper for each player that the model trains.

    Args:
        optim_wrapper_cfg (dict): One optimizer wrapper config per player (keys ``encoder``, ``generator``,
            ``discriminator`` for the paper's method); each has its own ``optimizer``, ``paramwise_cfg``, ``clip_grad``,
            ``accumulative_counts`` and ``type``. Configs of players that the model does not train are left unused. A
            ``type`` at the top is that of plain players: ``'AmpOptimWrapper'`` with its ``loss_scale``, as mmseg's
            ``train.py --amp`` writes it, or ``'OptimWrapper'``.
        paramwise_cfg (dict | None): Must be None; it belongs into the players' configs.

    Raises:
        ValueError: If ``paramwise_cfg`` is given at the top, if a player has no config, a key names no player, or
            gradients are clipped to nothing.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg is not None:
            raise ValueError(
                'optim_wrapper.paramwise_cfg: put it into the player, as optim_wrapper.encoder.paramwise_cfg.'
            )
        self.optim_wrapper_cfg = optim_wrapper_cfg

    def __call__(self, model: nn.Module) -> PlayerOptimWrapperDict:
        """Build the optimizers.

        Args:
            model (nn.Module): A ``UDASegmentor``, or its distributed wrapper.

        Returns:
            PlayerOptimWrapperDict: One optimizer wrapper per trained player.
        """
        model = getattr(model, 'module', model)
        configs = dict(self.optim_wrapper_cfg)
        shared = configs.pop('type', 'OptimWrapper')
        if shared == 'AmpOptimWrapper':
            mixed = dict(type=shared, loss_scale=configs.pop('loss_scale', 'dynamic'))
            configs = {
                name: {**config, **mixed} if config.get('type', 'OptimWrapper') == 'OptimWrapper' else config
                for name, config in configs.items()
            }
        elif shared not in ('OptimWrapper', 'OptimWrapperDict', OptimWrapperDict):
            raise ValueError('optim_wrapper.type: give each player a type of its own, as optim_wrapper.encoder.type.')
        unknown = sorted(set(configs) - set(model.player_names))
        if unknown:
            raise ValueError(
                f'optim_wrapper has keys {unknown}, but {type(model).__name__} has only {list(model.player_names)}.'
            )
        players = model.trained_players()
        missing = sorted(set(players) - set(configs))
        if missing:
            raise ValueError(f'optim_wrapper has no config for the players {missing}.')
        for name, player in players.items():
            _check_settings(f'optim_wrapper.{name}', configs[name], [key for key, _ in player.named_parameters()])
        return PlayerOptimWrapperDict(
            {value: name for player in players.values() for name, value in player.named_parameters()},
            **{name: _build(name, player, configs[name]) for name, player in players.items()},
        )


def _build(name: str, player: nn.Module, config: dict) -> OptimWrapper:
    """Build a player's optimizer; torch's messages name no key."""
    try:
        return build_optim_wrapper(player, config)
    except (TypeError, ValueError) as error:
        raise type(error)(f'optim_wrapper.{name}: {error}') from error


def _check_settings(key: str, config: dict, parameters: list[str]) -> None:
    """Refuse unknown optimizers and clipping that leaves no gradient; name custom keys that only look like a part."""
    kind = (config.get('optimizer') or {}).get('type')
    if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
        raise KeyError(f'{key}.optimizer.type: there is no optimizer {kind!r}.')
    if (config.get('clip_grad') or {}).get('max_norm', 1) <= 0:
        raise ValueError(f'{key}.clip_grad.max_norm must be positive: otherwise nothing is trained.')
    for custom in (config.get('paramwise_cfg') or {}).get('custom_keys') or ():
        parts = {part for parameter in parameters for part in parameter.split('.')}
        similar = difflib.get_close_matches(custom, parts, n=1, cutoff=0.8)
        if similar and not any(custom in parameter for parameter in parameters):
            print_log(
                f'{key}.paramwise_cfg.custom_keys: no parameter has {custom!r} in its name. Did you mean '
                f'{similar[0]!r}?',
                logger='current',
                level=logging.WARNING,
            )


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision on any device.

    mmengine's ``AmpOptimWrapper`` refuses the CPU. float16 scales the loss, with one scaler per optimizer; bfloat16 has
    the range of float32 and needs none. Each update opens autocast anew, because autocast caches the cast weights: one
    block around the step would use D's and G's weights of before their updates.

    float16's scaler leaves out updates whose gradients are not finite and tries a smaller scale. How many is counted on
    the device and in the checkpoint, and logged every 50 updates.

    Args:
        optimizer (Optimizer): The optimizer.
        dtype (str): 'bfloat16' or 'float16'.
        loss_scale (float | str | dict): For float16, as MMEngine's ``AmpOptimWrapper`` takes it: a fixed scale,
            'dynamic', or the arguments of a ``torch.amp.GradScaler``.
        accumulative_counts (int): Iterations whose gradients are accumulated.
        clip_grad (dict | None): Arguments of ``torch.nn.utils.clip_grad_norm_``.

    Raises:
        ValueError: If ``dtype`` is neither, or ``loss_scale`` is given to bfloat16 or is none.
        TypeError: For an argument that is not taken; lists those that are.
    """

    @lists_arguments
    def __init__(
        self,
        optimizer: Optimizer,
        dtype: str = 'bfloat16',
        loss_scale: float | str | dict = 'dynamic',
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)
        if dtype not in ('bfloat16', 'float16'):
            raise ValueError(f"AutocastOptimWrapper.dtype must be 'bfloat16' or 'float16', got {dtype!r}.")
        self.device_type = optimizer.param_groups[0]['params'][0].device.type
        self.dtype = getattr(torch, dtype)
        if loss_scale != 'dynamic' and dtype == 'bfloat16':
            raise ValueError(f'AutocastOptimWrapper.loss_scale={loss_scale!r} is for float16: bfloat16 scales no loss.')
        if isinstance(loss_scale, str) and loss_scale != 'dynamic':
            raise ValueError(
                f"AutocastOptimWrapper.loss_scale must be a number, 'dynamic' or a dict, got {loss_scale!r}."
            )
        self._fixed_scale = float(loss_scale) if isinstance(loss_scale, int | float) else None
        settings = dict(loss_scale) if isinstance(loss_scale, Mapping) else {}
        if self._fixed_scale is not None:
            settings['init_scale'] = self._fixed_scale
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=dtype == 'float16', **settings)
        self.player = 'network'
        self._due = 0
        self._left_out = torch.zeros((), device=optimizer.param_groups[0]['params'][0].device)
        self._reported = (0, 0)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Open autocast for a player's forward."""
        with super().optim_context(model), torch.autocast(self.device_type, self.dtype):
            yield

    def backward(self, loss: Tensor, retain_graph: bool = False) -> None:
        """Back-propagate the scaled loss."""
        self.scaler.scale(loss).backward(retain_graph=retain_graph)
        self._inner_count += 1

    def step(self) -> None:
        """Unscale, clip and step; a step with non-finite gradients is left out and the scale lowered."""
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer)
        if self.scaler.is_enabled():
            self._due += 1
            # The only place where torch keeps it without waiting for the device; update() forgets it.
            self._left_out += next(iter(self.scaler._found_inf_per_device(self.optimizer).values())).bool()
        self.scaler.update(self._fixed_scale)
        if self._due - self._reported[0] == _REPORT_INTERVAL:
            self.report_left_out_updates()

    def report_left_out_updates(self, final: bool = False) -> None:
        """Log how many updates the scaler has left out since the last report, if any.

        Args:
            final (bool): Whether the run is over.

        Raises:
            NoUpdateError: If it were all of the last fifty, or at the end of the run all there were.
        """
        left_out = int(self._left_out)
        due, missed = self._due - self._reported[0], left_out - self._reported[1]
        self._reported = (self._due, left_out)
        scale = f'{self.scaler.get_scale():g}'
        if missed == _REPORT_INTERVAL or (final and 0 < self._due == left_out):
            raise NoUpdateError(
                f'None of the last {due} updates of the {self.player} was made: its gradients are not finite in '
                f'float16, now at a loss scale of {scale}. Use bfloat16 (--amp bfloat16) or float32, bound the loss '
                '(clamp), or look for what makes the gradients infinite.'
            )
        if missed:
            print_log(
                f'float16: {missed} of the last {due} updates of the {self.player} were left out, as their gradients '
                f'were not finite ({left_out} of {self._due} in all). The loss scale is now {scale}.',
                logger='current',
                level=logging.WARNING,
            )

    def state_dict(self) -> dict:
        """Return the optimizer's state, the scaler's, and the counts of updates."""
        counts = dict(due=self._due, left_out=int(self._left_out))
        return {**super().state_dict(), 'loss_scaler': self.scaler.state_dict(), 'update_counts': counts}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load what ``state_dict`` returned; a state saved without mixed precision has no scaler."""
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler:
            self.scaler.load_state_dict(scaler)
        counts = state_dict.pop('update_counts', None)
        if counts and self.scaler.is_enabled():
            self._due = counts['due']
            self._left_out.fill_(counts['left_out'])
            self._reported = (counts['due'], counts['left_out'])
        super().load_state_dict(state_dict)
