"""What every unsupervised-adaptation segmentor needs; a method adds its players and its step."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from mmengine.optim import OptimWrapperDict
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor, nn

from cda_mmseg.engine.progress import TrainingProgress
from cda_mmseg.models.players import DOMAINS, Domain, EncoderPlayer
from cda_mmseg.models.randomness_slots import RandomnessSlots
from cda_mmseg.models.segmentors.execution import Execution
from cda_mmseg.models.segmentors.head_losses import check_heads, head_losses
from cda_mmseg.models.segmentors.step import Step

ACCURACY_INTERVAL = 50


class NonFiniteLossError(RuntimeError):
    """A player's loss is NaN or infinite; its update was not applied."""


class UnreachedParametersError(RuntimeError):
    """A player owns parameters that its loss does not reach."""


class UDASegmentor(EncoderDecoder):
    """An ordinary ``EncoderDecoder`` that is trained on a batch from each domain by several players.

    Prediction, test-time augmentation, the inferencer and the checkpoint keys of backbone, neck and heads are mmseg's.
    A method subclasses this, names its players and writes ``adapt``.

    Args:
        backbone (dict): Config of the backbone.
        decode_head (dict): Config of the decode head; its loss must be ``loss_by_feat(forward(x))``.
        neck (dict | None): Config of the neck.
        auxiliary_head (dict | list[dict] | None): Config of auxiliary heads.
        train_cfg (dict | None): mmseg's training config.
        test_cfg (dict | None): mmseg's test config.
        data_preprocessor (dict | None): Config of the ``SegDataPreProcessor`` of both domains.
        pretrained (str | None): mmseg's older way to name the backbone's weights; its ``init_model`` passes None.
        init_cfg (dict | None): mmengine's initialisation config.
        execution (dict | None): How a step is computed, see :class:`Execution`.

    Raises:
        TypeError: If a head's loss is of another kind.
        ValueError: If ``execution`` is not one.
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        neck: dict | None = None,
        auxiliary_head: dict | list[dict] | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
        execution: dict | None = None,
    ) -> None:
        choice = Execution.from_config(execution)
        super().__init__(
            backbone=choice.of_network('backbone', backbone),
            decode_head=decode_head,
            neck=neck,
            auxiliary_head=auxiliary_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            pretrained=pretrained,
            init_cfg=init_cfg,
        )
        self.execution = choice
        # Inside a tuple, so that the view is not registered as a child and adds no keys.
        self._encoder_view = (EncoderPlayer(self, choice.batch_domains, choice.compile),)
        check_heads(self.encoder)
        self.progress = TrainingProgress()
        self._checked_players: set[str] = set()
        self.arrange_weights()

    @property
    def domains(self) -> tuple[Domain, ...]:
        """tuple[str, ...]: Domains that the method trains on; the loop loads no others."""
        return DOMAINS

    @property
    def player_names(self) -> tuple[str, ...]:
        """tuple[str, ...]: Keys that ``optim_wrapper`` may have, in the order of the updates."""
        return ('encoder',)

    @property
    def encoder(self) -> EncoderPlayer:
        """EncoderPlayer: A view of backbone, neck and heads."""
        return self._encoder_view[0]

    def player(self, name: str) -> nn.Module:
        """Return a player by name.

        Args:
            name (str): One of ``player_names``.

        Returns:
            nn.Module: The player's module.
        """
        return getattr(self, name)

    def trained_players(self) -> dict[str, nn.Module]:
        """Return the players that have a loss; the others are not stepped.

        Returns:
            dict[str, nn.Module]: Players by name.
        """
        return {name: self.player(name) for name in self.player_names}

    def set_progress(self, progress: TrainingProgress) -> None:
        """Tell the model, and every module in it that follows a schedule, where the run stands.

        Args:
            progress (TrainingProgress): Where the run stands.
        """
        self.progress = progress
        for module in self.modules():
            if module is not self and hasattr(module, 'set_progress'):
                module.set_progress(progress)

    def train_step(
        self, data: dict, optim_wrapper: OptimWrapperDict, forwards: Mapping[str, nn.Module] | None = None
    ) -> dict[str, float]:
        """Take one training step: every player is updated once.

        Args:
            data (dict): ``dict(source=..., target=...)``, each a batch as mmseg's loaders give it.
            optim_wrapper (OptimWrapperDict): One optimizer wrapper per player.
            forwards (Mapping[str, nn.Module] | None): Modules to call in the players' place, such as their DDP
                wrappers; the players themselves by default.

        Returns:
            dict[str, float]: Values to log.
        """
        batches = {domain: self._preprocess(data[domain]) for domain in self.domains}
        self._check_execution({domain: batch['inputs'] for domain, batch in batches.items()})
        slots = RandomnessSlots(self.progress, batches['source']['inputs'].device)
        return Step.to_log(self.adapt(Step(batches, slots, optim_wrapper, forwards or self.trained_players())))

    def _preprocess(self, batch: dict) -> dict:
        batch = self.data_preprocessor(batch, training=True)
        if self.execution.channels_last:
            batch['inputs'] = batch['inputs'].contiguous(memory_format=torch.channels_last)
        return batch

    def _check_execution(self, images: dict[Domain, Tensor]) -> None:
        self.execution.check_images(images)
        if not self._checked_players:
            self.execution.check_networks(self.networks_of_both_domains())

    def networks_of_both_domains(self) -> dict[str, nn.Module]:
        """Return the networks that both domains go through.

        Returns:
            dict[str, nn.Module]: Networks by their keys in the config; the heads see the source alone.
        """
        return {key: getattr(self, key) for key in ('backbone', 'neck') if hasattr(self, key)}

    def arrange_weights(self) -> None:
        """Bring the weights into the layout that ``execution`` asks for; a method's constructor ends with this."""
        if self.execution.channels_last:
            self.to(memory_format=torch.channels_last)

    def init_weights(self) -> None:
        """Draw or load the weights; a seed gives the same ones in every layout."""
        self.to(memory_format=torch.contiguous_format)
        super().init_weights()
        self.arrange_weights()

    @abstractmethod
    def adapt(self, step: Step) -> dict[str, Tensor]:
        """Update every player once.

        Args:
            step (Step): The batch, the seeds and the optimizers.

        Returns:
            dict[str, Tensor]: Scalars to log.
        """

    def segmentation_losses(self, scores: Sequence[Tensor], data_samples: list) -> dict[str, Tensor]:
        """Compute the losses of all heads on labelled samples.

        Args:
            scores (Sequence[Tensor]): Outputs of decode head and auxiliary heads.
            data_samples (list[SegDataSample]): The labelled samples.

        Returns:
            dict[str, Tensor]: Terms with mmseg's prefixes, as ``decode.loss_ce``.
        """
        with_accuracy = (self.progress.iteration + 1) % ACCURACY_INTERVAL == 0
        return {
            f'{prefix}.{name}': value
            for (prefix, head), output in zip(self.encoder.heads.items(), scores, strict=True)
            for name, value in head_losses(head, output, data_samples, with_accuracy).items()
        }

    def update(self, name: str, terms: dict[str, Tensor], step: Step) -> Tensor:
        """Apply one player's update.

        Args:
            name (str): The player.
            terms (dict[str, Tensor]): Its weighted loss terms, each a scalar.
            step (Step): The step.

        Returns:
            Tensor: The sum of the terms.

        Raises:
            NonFiniteLossError: Before the update, if the sum is not finite.
            UnreachedParametersError: At the player's first update, if a parameter got no gradient.
        """
        total = sum(terms.values())
        if not torch.isfinite(total):
            raise NonFiniteLossError(self._describe_non_finite(name, terms, step.files))
        optim_wrapper = step.optim_wrapper[name]
        optim_wrapper.backward(optim_wrapper.scale_loss(total))
        if name not in self._checked_players:
            self._check_reached(name)
            self._checked_players.add(name)
        if optim_wrapper.should_update():
            optim_wrapper.step()
            optim_wrapper.zero_grad()
        return total

    def _describe_non_finite(self, name: str, terms: dict[str, Tensor], files: list[str]) -> str:
        culprits = ', '.join(f'{term} = {value.item()}' for term, value in terms.items() if not torch.isfinite(value))
        return (
            f'The loss of the {name} is not finite at iteration {self.progress.iteration}: {culprits or "their sum"}. '
            f'Files in the batch: {files}. The update was not applied; resume from the last checkpoint with a lower '
            "learning rate, gradient clipping, or the loss's clamp."
        )

    def _check_reached(self, name: str) -> None:
        unreached = [
            key for key, value in self.player(name).named_parameters() if value.requires_grad and value.grad is None
        ]
        if unreached:
            raise UnreachedParametersError(
                f'No loss of the {name} reaches {len(unreached)} of its parameters: {unreached[:5]}. '
                'Remove the unused layers from the config (for instance backbone stages after the last out_indices), '
                'or freeze them.'
            )
