"""One optimizer per player."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import Tensor, nn
from torch.optim import Optimizer


class PlayerOptimWrapperDict(OptimWrapperDict):
    """Hold the players' optimizers and pass the loop's counts on to each.

    mmengine's container leaves the counts alone, and with gradient accumulation the last, partial cycle would be lost.
    """

    def initialize_count_status(self, model: nn.Module, cur_iter: int, max_iters: int) -> None:
        """Tell every optimizer where the run stands.

        Args:
            model (nn.Module): The model that is trained.
            cur_iter (int): Iterations done.
            max_iters (int): Iterations in all.
        """
        for wrapper in self.values():
            wrapper.initialize_count_status(model, cur_iter, max_iters)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load all optimizers; the kernels stay those of the config, and each state gets its weight's layout in memory.

        A checkpoint keeps the kernels and the layout it was saved with, which change nothing but time. Fused kernels
        read weight and state in the order in which they lie.

        Args:
            state_dict (dict): What ``state_dict`` returned, by player.
        """
        super().load_state_dict({name: self._with_own_kernels(name, state) for name, state in state_dict.items()})
        for wrapper in self.values():
            for parameter, state in wrapper.optimizer.state.items():
                for key, value in state.items():
                    is_alike = isinstance(value, Tensor) and value.shape == parameter.shape
                    if is_alike and value.stride() != parameter.stride():
                        state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def _with_own_kernels(self, name: str, state_dict: dict) -> dict:
        saved = state_dict.get('param_groups', [])
        own = self[name].optimizer.param_groups if name in self else []
        if len(saved) != len(own):
            return state_dict  # torch says what does not fit
        kernels = [{flag: group[flag] for flag in ('fused', 'foreach') if flag in group} for group in own]
        groups = [{**group, **flags} for group, flags in zip(saved, kernels, strict=True)]
        return {**state_dict, 'param_groups': groups}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PlayerOptimWrapperConstructor:
    """Build one optimizer wrapper for each player that the model trains.

    Args:
        optim_wrapper_cfg (dict): One optimizer wrapper config per player (keys ``encoder``, ``generator``,
            ``discriminator`` for the paper's method); each has its own ``optimizer``, ``paramwise_cfg``, ``clip_grad``,
            ``accumulative_counts`` and ``type``. Configs of players that the model does not train are left unused.
        paramwise_cfg (dict | None): Must be None; it belongs into the players' configs.

    Raises:
        ValueError: If ``paramwise_cfg`` is given at the top, if a player has no config, or a key names no player.
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
        if configs.pop('type', 'OptimWrapperDict') not in ('OptimWrapperDict', OptimWrapperDict):
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
        return PlayerOptimWrapperDict(
            **{name: build_optim_wrapper(player, configs[name]) for name, player in players.items()}
        )


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision on any device.

    mmengine's ``AmpOptimWrapper`` refuses the CPU. float16 scales the loss, with one scaler per optimizer; bfloat16 has
    the range of float32 and needs none. Each update opens autocast anew, because autocast caches the cast weights: one
    block around the step would use D's and G's weights of before their updates.

    Args:
        optimizer (Optimizer): The optimizer.
        dtype (str): 'bfloat16' or 'float16'.
        accumulative_counts (int): Iterations whose gradients are accumulated.
        clip_grad (dict | None): Arguments of ``torch.nn.utils.clip_grad_norm_``.

    Raises:
        ValueError: If ``dtype`` is neither.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        dtype: str = 'bfloat16',
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)
        if dtype not in ('bfloat16', 'float16'):
            raise ValueError(f"AutocastOptimWrapper.dtype must be 'bfloat16' or 'float16', got {dtype!r}.")
        self.device_type = optimizer.param_groups[0]['params'][0].device.type
        self.dtype = getattr(torch, dtype)
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=dtype == 'float16')

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Open autocast for a player's forward.

        Args:
            model (nn.Module): The module that is called.

        Yields:
            None: Nothing.
        """
        with super().optim_context(model), torch.autocast(self.device_type, self.dtype):
            yield

    def backward(self, loss: Tensor, retain_graph: bool = False) -> None:
        """Back-propagate the scaled loss.

        Args:
            loss (Tensor): The loss.
            retain_graph (bool): Whether the graph is kept.
        """
        self.scaler.scale(loss).backward(retain_graph=retain_graph)
        self._inner_count += 1

    def step(self) -> None:
        """Unscale, clip and step; a step with non-finite gradients is left out and the scale lowered."""
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state_dict(self) -> dict:
        """Return the optimizer's state and the scaler's.

        Returns:
            dict: The state.
        """
        return {**super().state_dict(), 'loss_scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load what ``state_dict`` returned; a state saved without mixed precision has no scaler.

        Args:
            state_dict (dict): The state.
        """
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)
