"""A discriminator that tells the domains apart by maps of the segmentation network.

The segmentation network E asks it as it stood before the step; then it learns from E's predictions of before E's
update. Its label of the source is 0 and that of the target 1, as AdaptSegNet published it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from mmseg.registry import MODELS
from torch import Tensor
from torch.autograd.function import FunctionCtx

from cda_mmseg.models.adaptations.adaptation import Adaptation, Encoded, Level, Log
from cda_mmseg.models.adaptations.class_maps import ClassMaps, self_information
from cda_mmseg.models.losses.checks import check_choice, check_number
from cda_mmseg.models.players import DOMAINS, Domain, MapDiscriminatorPlayer

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors.step import Step
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor
    from cda_mmseg.utils.progress import TrainingProgress


class DomainAdversary(Adaptation):
    """Train a discriminator D of maps, and E against it.

    Args:
        discriminator (dict): Config of the network, such as ``PatchGANDiscriminator`` for maps of classes or
            ``FeatureDiscriminator`` for features; its ``in_channels`` are those of the maps if left out.
        loss_gan (dict): Config of the adversarial loss, such as ``GANLoss``; its 'real' is the target.
        weight (float): Weight of E's term, greater than 0.
        player (str): Name of D: key of its optimizer, and begin of its values' names in the log. Several of them in one
            model need names of their own.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If ``weight`` is not a finite number greater than 0.
    """

    discriminator_factor = 1.0
    """Factor of both terms of D's loss."""

    def __init__(
        self,
        discriminator: dict,
        loss_gan: dict,
        weight: float,
        player: str,
        begin: float = 0.0,
        end: float = 1.0,
    ) -> None:
        super().__init__(begin, end)
        self.weight = check_number(type(self).__name__, 'weight', weight, above=0)
        self.loss_gan = MODELS.build(loss_gan)
        self.players = (player,)
        self._network = discriminator

    def connect(self, segmentor: UDASegmentor) -> None:
        """Build D for the segmentor's maps."""
        network = {**self._of_maps(segmentor), **self._network}
        self.add_module(self.player, MapDiscriminatorPlayer(network, segmentor.execution.compile))

    @property
    def player(self) -> str:
        """str: Name of D."""
        return self.players[0]

    @abstractmethod
    def _of_maps(self, segmentor: UDASegmentor) -> dict[str, int]:
        """Find the maps in the segmentor, and tell D's ``in_channels`` where they are known."""

    @abstractmethod
    def _maps(self, encoded: Encoded, domain: Domain, step: Step) -> Tensor:
        """Return what D sees of a domain, (N, C, H, W)."""

    def _discriminate(self, maps: Tensor, domain: Domain, step: Step) -> Tensor:
        """Ask D; it drops the same channels whether E learns or D."""
        with step.seeded(f'{self.player}/{domain}'):
            return step.module(self.player)(maps)

    def after_encoder(self, encoded: Encoded, step: Step) -> Log:
        """Update D."""
        terms, right = {}, {}
        with step.context(self.player):
            for domain in DOMAINS:
                logits = self._discriminate(self._maps(encoded, domain, step), domain, step)
                is_target = domain == 'target'
                loss = self.loss_gan(logits, target_is_real=is_target, for_discriminator=True)
                terms[f'loss {domain}'] = self.discriminator_factor * loss
                right[domain] = ((logits.detach() > self.loss_gan.decision_boundary) == is_target).float().mean()
        total = step.update(self.player, terms)
        return {f'{self.player}.loss': total, **accuracies(self.player, right)}


def accuracies(player: str, right: Mapping[Domain, Tensor]) -> Log:
    """Name the shares of right answers about each domain, and their mean."""
    of_domains = {f'{player}.accuracy.{domain}': share for domain, share in right.items()}
    return {f'{player}.accuracy': torch.stack(list(right.values())).mean(), **of_domains}


@MODELS.register_module()
class OutputSpaceAdversary(DomainAdversary):
    """Let the target's predictions look like the source's.

    `Learning to Adapt Structured Output Space for Semantic Segmentation <https://arxiv.org/abs/1802.10349>`_
    (AdaptSegNet) with ``maps='softmax'``; one instance per level, each with a player of its own. With
    ``maps='self_information'`` the adversarial method of `ADVENT <https://arxiv.org/abs/1811.12833>`_.

    D sees maps (N, C, H, W) of the size of the picture. E's term is ``weight`` times the loss of D taking the target
    for the source; both terms of D's own loss are halved. A value of a self-information map is at most
    ``.531 / log2(C)`` (.125 for 19 classes), so one ``weight`` is not the same strength for both kinds of maps.

    Args:
        discriminator (dict): Config of the network. ``PatchGANDiscriminator`` by itself is that of both publications.
        loss_gan (dict): Config of the loss. AdaptSegNet's least-squares form has ``gan_type='lsgan'``, ``weight=.01``.
        weight (float): Weight of E's term: published .001 for the decode head, .0002 for the auxiliary one.
        maps (str): 'softmax' or 'self_information'.
        head (str): 'decode', or the name of an auxiliary head in the log: 'aux', 'aux_0', ...
        player (str): Name of D.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If a value is out of its range, or the model has no such head.
    """

    discriminator_factor = 0.5
    terms_of = ('target',)

    def __init__(
        self,
        discriminator: dict,
        loss_gan: dict,
        weight: float = 0.001,
        maps: str = 'softmax',
        head: str = 'decode',
        player: str = 'output_discriminator',
        begin: float = 0.0,
        end: float = 1.0,
    ) -> None:
        super().__init__(discriminator, loss_gan, weight, player, begin, end)
        self.maps = check_choice('OutputSpaceAdversary', 'maps', maps, ('softmax', 'self_information'))
        self.head = head

    @property
    def reads(self) -> dict[str, Level]:
        """dict[str, str]: The class scores of both domains."""
        return dict.fromkeys(DOMAINS, 'scores')

    def _of_maps(self, segmentor: UDASegmentor) -> dict[str, int]:
        self._class_maps = ClassMaps('OutputSpaceAdversary', self.head, segmentor)
        return {'in_channels': self._class_maps.classes}

    def _maps(self, encoded: Encoded, domain: Domain, step: Step) -> Tensor:
        probabilities = self._class_maps.probabilities(encoded, domain, step.images[domain].shape[2:])
        return self_information(probabilities) if self.maps == 'self_information' else probabilities

    def encoder_losses(self, encoded: Encoded, step: Step) -> Log:
        """Take the target for the source."""
        logits = self._discriminate(self._maps(encoded, 'target', step), 'target', step)
        loss = self.loss_gan(logits, target_is_real=False, for_discriminator=False)
        return {f'encoder.loss_{self.player}': self.weight * loss}


class FeatureAdversary(DomainAdversary):
    """Train D on a feature map, and E against it.

    Args:
        discriminator (dict): Config of the network.
        loss_gan (dict): Config of the loss.
        weight (float): Weight of E's term, greater than 0.
        in_index (int | None): Index of the map among those of backbone and neck; None is the last one that the decode
            head reads (fc7 of FCN8s).
        player (str): Name of D.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If a value is out of its range, or the channels of the map are not known.
    """

    terms_of = DOMAINS

    def __init__(
        self,
        discriminator: dict,
        loss_gan: dict,
        weight: float = 1.0,
        in_index: int | None = None,
        player: str = 'feature_discriminator',
        begin: float = 0.0,
        end: float = 1.0,
    ) -> None:
        super().__init__(discriminator, loss_gan, weight, player, begin, end)
        self.in_index = in_index

    @property
    def reads(self) -> dict[str, Level]:
        """dict[str, str]: The feature maps of both domains."""
        return dict.fromkeys(DOMAINS, 'features')

    def _of_maps(self, segmentor: UDASegmentor) -> dict[str, int]:
        of_head = segmentor.maps_of_head
        if self.in_index is None:
            self.in_index = of_head['in_index'][-1]
        channels = dict(zip(of_head['in_index'], of_head['in_channels'], strict=True))
        if self.in_index in channels:
            return {'in_channels': channels[self.in_index]}
        if 'in_channels' not in self._network:
            raise ValueError(
                f'{type(self).__name__}: the decode head reads the maps {of_head["in_index"]} and not in_index='
                f'{self.in_index}, so discriminator.in_channels must say how many channels it has.'
            )
        return {}

    def _maps(self, encoded: Encoded, domain: Domain, step: Step) -> Tensor:
        return encoded.features[domain][self.in_index]


class _Reversal(torch.autograd.Function):
    """Identity whose gradient is multiplied by ``-strength``."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


@MODELS.register_module()
class GradientReversal(FeatureAdversary):
    """Reverse the gradient of a domain classifier.

    `Unsupervised Domain Adaptation by Backpropagation <https://arxiv.org/abs/1409.7495>`_, where E and D descend one
    loss, of which E gets the gradient reversed and times λ = 2 / (1 + exp(-10 p)) - 1, with p the share of the
    adaptation's iterations that is done. D's own gradient is not scaled. The two updates here are the two halves of
    that one backward pass: D answers both with the same weights and the same dropped channels.

    For segmentation there is no canonical form: the map and D are this project's choice (CyCADA's on fc7).

    Args:
        discriminator (dict): Config of the network.
        loss_gan (dict): Config of the loss.
        weight (float): Factor of λ. D's loss has none: with both, E's gradient would be scaled twice.
        in_index (int | None): Index of the map; None is the last one that the decode head reads.
        player (str): Name of D.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.
    """

    def strength(self, progress: TrainingProgress) -> float:
        """Compute λ, a function of the iteration alone, in [0, 1)."""
        done = self.begun_for(progress) / len(self.iterations(progress.max_iters))
        return 2 / (1 + math.exp(-10 * done)) - 1

    def encoder_losses(self, encoded: Encoded, step: Step) -> Log:
        """Tell the domains apart, with the gradient reversed."""
        strength = self.weight * self.strength(step.progress)
        losses = []
        for domain in encoded.features:
            features = _Reversal.apply(self._maps(encoded, domain, step), strength)
            logits = self._discriminate(features, domain, step)
            losses.append(self.loss_gan(logits, target_is_real=domain == 'target', for_discriminator=True))
        return {f'encoder.loss_{self.player}': sum(losses)}


@MODELS.register_module()
class DomainConfusion(FeatureAdversary):
    """Let D be undecided about both domains.

    The global alignment of `FCNs in the Wild <https://arxiv.org/abs/1612.02649>`_, section 3.1: every cell of the last
    map before the scores is an example, and E minimises half the sum of D's loss and of the same loss with the labels
    swapped. Its gradient per logit is bounded, sigmoid(logit) - 1/2. Means over the cells stand in place of sums.

    Args:
        discriminator (dict): Config of the network.
        loss_gan (dict): Config of the loss.
        weight (float): Weight of E's term.
        in_index (int | None): Index of the map; None is the last one that the decode head reads.
        player (str): Name of D.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If ``loss_gan`` is the hinge loss, whose terms for both labels cancel out.
    """

    def connect(self, segmentor: UDASegmentor) -> None:
        """Build D for the segmentor's maps."""
        super().connect(segmentor)
        if getattr(self.loss_gan, 'gan_type', None) == 'hinge':
            raise ValueError(
                "DomainConfusion: with gan_type='hinge' the terms for both labels cancel out, and E would learn "
                "nothing. Set loss_gan.gan_type to 'vanilla' or 'lsgan'."
            )

    def encoder_losses(self, encoded: Encoded, step: Step) -> Log:
        """Move D's answers to the middle."""
        losses = []
        for domain in encoded.features:
            logits = self._discriminate(self._maps(encoded, domain, step), domain, step)
            losses += [self.loss_gan(logits, is_target, for_discriminator=False) for is_target in (False, True)]
        return {f'encoder.loss_{self.player}': self.weight * 0.5 * sum(losses)}
