"""What one training step works on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cda_mmseg.models.adaptations.adaptation import Encoded, Log
from cda_mmseg.models.segmentors.execution import Execution, non_reentrant_checkpoints
from cda_mmseg.utils.finite import has_non_finite
from cda_mmseg.utils.progress import TrainingProgress
from cda_mmseg.utils.randomness import seeded_torch, stable_hash


class NonFiniteLossError(RuntimeError):
    """A player's loss or gradient is NaN or infinite."""


class UnreachedParametersError(RuntimeError):
    """A player owns parameters that its loss does not reach."""


@dataclass
class Step:
    """Bundle the batches, the seeds and the means of one training step.

    Attributes:
        separate_total: Sum of E's terms that had graphs of their own.
        images: Normalised images (N, 3, H, W) per batch name: 'source', 'target', and what adaptations add.
        labels: Labels (N, H, W), int64, of the labelled batches.
        samples: The samples of each domain's batch.
        preprocessor: What normalised the images.
        progress: Where the run stands.
        players: Every player of the model, trained or not; 'encoder' is E.
        forwards: The module to call for a player that is being updated: the player itself, or its DDP wrapper.
        optim_wrapper: One optimizer wrapper per trained player.
        execution: How the step is computed.
        checked_players: Players whose parameters are known to be reached by their losses; this step adds to it.
        checks_at_once: Whether a loss and its gradients are looked at before each update. On a GPU looking would stop
            the device: there the flags are read once, with the log.
    """

    images: dict[str, Tensor]
    labels: dict[str, Tensor]
    samples: dict[str, list]
    preprocessor: nn.Module
    progress: TrainingProgress
    players: Mapping[str, nn.Module]
    forwards: Mapping[str, nn.Module]
    optim_wrapper: OptimWrapperDict
    execution: Execution
    checked_players: set[str]
    checks_at_once: bool = True
    separate_total: Tensor | float = field(default=0.0, init=False)
    _updated: str | None = field(default=None, init=False)
    _flags: list[tuple[str, list[str], Tensor]] = field(default_factory=list, init=False)

    @property
    def files(self) -> list[str]:
        """list[str]: The image files of the domains' batches."""
        return [sample.metainfo.get('img_path') for samples in self.samples.values() for sample in samples]

    @property
    def device(self) -> torch.device:
        """torch.device: Where the images are."""
        return self.images['source'].device

    def seeded(self, name: str) -> AbstractContextManager[None]:
        """Open the block of a forward whose dropout and noise belong to (seed, iteration, rank, name).

        A forward that is run again within a step repeats its masks, an independent implementation can repeat them, and
        a resumed run needs no generator state.
        """
        progress = self.progress
        return seeded_torch(stable_hash(progress.seed, progress.iteration, progress.rank, name), self.device)

    @contextmanager
    def context(self, player: str, synchronised: bool = True) -> Iterator[None]:
        """Open the block in which a player's update computes, and freeze all other players.

        Args:
            player (str): The player that is being updated.
            synchronised (bool): Whether the gradients of what runs in the block are averaged over the processes;
                otherwise a later, synchronised backward pass does so.

        Yields:
            None: Nothing: the block has the player's mixed precision.
        """
        forward = self.forwards[player]
        is_apart = not synchronised and isinstance(forward, DistributedDataParallel)
        with ExitStack() as stack:
            stack.enter_context(frozen(*self._others(player)))
            stack.enter_context(self.optim_wrapper[player].optim_context(forward))
            stack.enter_context(forward.no_sync() if is_apart else nullcontext())
            stack.enter_context(non_reentrant_checkpoints())
            self._updated = player
            try:
                yield
            finally:
                self._updated = None

    def module(self, player: str) -> nn.Module:
        """Return what to call for a player: its wrapper inside its own :meth:`context`, else the player itself."""
        return self.forwards[player] if player == self._updated else self.players[player]

    def encode(self, images: Mapping[str, Tensor], scored: Sequence[str]) -> Encoded:
        """Run the segmentation network E on named batches.

        Inside ``context('encoder')`` gradients reach E. With ``execution.batch_domains`` several batches go through as
        one, with the seed 'encoder/both'; otherwise each on its own with the seed 'encoder/<name>'.

        Args:
            images (Mapping[str, Tensor]): Normalised images (N, 3, H, W).
            scored (Sequence[str]): Names of those that the heads score.
        """
        encode = self.module('encoder')
        outputs: list[tuple[list[Tensor], list]] = []
        if self.execution.batch_domains and len(images) > 1:
            self.execution.check_images(images)
            with self.seeded('encoder/both'):
                outputs = encode(list(images.values()), [name in scored for name in images])
        else:
            for name, batch in images.items():
                with self.seeded(f'encoder/{name}'):
                    outputs += encode([batch], [name in scored])
        features, scores = zip(*outputs, strict=True)
        return Encoded(dict(zip(images, features, strict=True)), dict(zip(images, scores, strict=True)))

    def backward(self, player: str, losses: Log) -> Tensor:
        """Back-propagate a player's terms without stepping it; call it outside :meth:`context`.

        Args:
            losses (Log): Its weighted terms; only those with 'loss' in their names count.

        Returns:
            Tensor: The sum of the terms.

        Raises:
            NonFiniteLossError: If the sum is not finite; on a GPU :meth:`finish` raises it.
        """
        wrapper = self.optim_wrapper[player]
        # One update counts once, however many backward passes it takes.
        count = wrapper._inner_count
        total = self._backward(player, losses, wrapper)
        wrapper._inner_count = count
        self.separate_total = self.separate_total + total
        return total

    def update(self, player: str, losses: Log) -> Tensor:
        """Apply one player's update; call it outside :meth:`context`.

        Args:
            losses (Log): Its weighted terms; only those with 'loss' in their names count.

        Returns:
            Tensor: The sum of the terms.

        Raises:
            NonFiniteLossError: Before the update, if the sum or a gradient is not finite; on a GPU :meth:`finish` does.
            UnreachedParametersError: At the player's first update, if a parameter got no gradient.
        """
        wrapper = self.optim_wrapper[player]
        total = self._backward(player, losses, wrapper)
        if player not in self.checked_players:
            self._check_reached(player)
            self.checked_players.add(player)
        if wrapper.should_update():
            self._check_gradients(player, wrapper)
            wrapper.step()
            wrapper.zero_grad()
        return total

    def finish(self, log: Log) -> dict[str, float]:
        """Read all logged values, and whether all was finite, with one transfer.

        Raises:
            NonFiniteLossError: If a loss or a gradient of this step was not.
        """
        flags = [flag for _, _, flag in self._flags]
        values = torch.stack([value.detach().reshape(()).float() for value in (*log.values(), *flags)]).tolist()
        for (player, names, _), value in zip(self._flags, values[len(log) :], strict=True):
            if not value:
                culprits = [f'{name} = {values[list(log).index(name)]}' for name in names if name in log]
                raise NonFiniteLossError(self._describe(player, ', '.join(culprits) or 'a gradient', applied=True))
        return dict(zip(log, values, strict=False))

    def _backward(self, player: str, losses: Log, wrapper: OptimWrapper) -> Tensor:
        terms = {name: value for name, value in losses.items() if 'loss' in name}
        total = sum(terms.values())
        self._check(
            player, torch.isfinite(total), list(terms), lambda: _name_non_finite(terms) or 'the sum of its terms'
        )
        # Frozen as in the forward pass: what checkpoints compute again must save the same tensors.
        with frozen(*self._others(player)):
            wrapper.backward(wrapper.scale_loss(total))
        return total.detach()

    def _others(self, player: str) -> list[nn.Module]:
        return [module for name, module in self.players.items() if name != player]

    def _check_gradients(self, player: str, wrapper: OptimWrapper) -> None:
        scaler = getattr(wrapper, 'scaler', getattr(wrapper, 'loss_scaler', None))
        if scaler is not None and scaler.is_enabled():
            return  # float16 leaves out steps whose gradients overflow, and lowers its scale
        gradients = {
            name: parameter.grad
            for name, parameter in self.players[player].named_parameters()
            if parameter.grad is not None
        }
        is_finite = ~has_non_finite(gradients.values(), may_look=self.checks_at_once)
        self._check(player, is_finite, [], lambda: _name_non_finite(gradients, 'the gradient of '))

    def _check(self, player: str, is_finite: Tensor, names: list[str], describe: Callable[[], str]) -> None:
        if not self.checks_at_once:
            self._flags.append((player, names, is_finite))
        elif not is_finite:
            raise NonFiniteLossError(self._describe(player, describe(), applied=False))

    def _describe(self, player: str, culprits: str, applied: bool) -> str:
        subject = 'A gradient' if 'gradient' in culprits else 'The loss'
        consequence = 'Nothing of it was saved' if applied else 'The update was not applied'
        return (
            f'{subject} of the {player} is not finite at iteration {self.progress.iteration}: {culprits}. '
            f'Files in the batch: {self.files}. {consequence}; resume from the last checkpoint with a lower '
            "learning rate, gradient clipping, or the loss's clamp."
        )

    def _check_reached(self, player: str) -> None:
        parameters = self.players[player].named_parameters()
        unreached = [key for key, value in parameters if value.requires_grad and value.grad is None]
        if unreached:
            raise UnreachedParametersError(
                f'No loss of the {player} reaches {len(unreached)} of its parameters: {unreached[:5]}. '
                'Remove the unused layers from the config (for instance backbone stages after the last out_indices), '
                'or freeze them.'
            )


def _name_non_finite(values: Mapping[str, Tensor], prefix: str = '') -> str:
    bad = [name for name, value in values.items() if not torch.isfinite(value).all()]
    return ', '.join(
        f'{prefix}{name} = {values[name].item()}' if values[name].numel() == 1 else prefix + name for name in bad[:5]
    )


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Keep modules out of the gradient computation, and restore only the flags that were cleared."""
    cleared = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for parameter in cleared:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in cleared:
            parameter.requires_grad_(True)
