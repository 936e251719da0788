"""Encoder, generator and discriminator in alternation (paper §3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from cda_mmseg.models.adaptations.adaptation import Adaptation, Encoded, Level, Log
from cda_mmseg.models.adaptations.domain_adversary import accuracies
from cda_mmseg.models.denormalize import denormalize
from cda_mmseg.models.losses.checks import check_choice, check_number
from cda_mmseg.models.players import DOMAINS, OTHER_DOMAIN, DiscriminatorPlayer, Domain, GeneratorPlayer

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors.step import Step
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor

Asked = tuple[Domain, str, Tensor]
"""Domain whose judgement is asked for, name of the forward pass, and the pictures."""


@MODELS.register_module()
class ImageAdversary(Adaptation):
    """Align two domains through pictures rebuilt from their embeddings (paper §3.4).

    One step updates, in this order and each with the others as they are by then:

    1. D: own-domain real against rebuilt, for both domains;
    2. G: its pictures shall pass for real ones of their own domain, and be close to the image (L1);
    3. E: its embeddings shall pass for real ones of the *other* domain once G has rebuilt them, plus the segmentation
       loss on the source.

    Each forward runs once where this order allows: E once per domain for all three updates, G once for D and itself.
    Only what an update really changed runs again.

    Args:
        generator (dict): Config of the generator network, such as ``ImageGenerator``; ``in_channels`` and ``in_index``
            are the decode head's if left out.
        discriminator (dict): Config of the discriminator network, such as ``PatchGANDiscriminator``. Pictures have the
            channels of the images, as the backbone takes them.
        loss_gan (dict): Config of the adversarial loss, such as ``GANLoss``.
        encoder_adversarial_weight (float): Weight of the cross-domain term of E; 0 switches it off.
        generator_adversarial_weight (float): Weight of the own-domain term of G; 0 switches it off.
        reconstruction_weight (float): Weight of G's L1 distance to the image in [-1, 1]; 0 switches it off.
        generator_sharing (str): 'shared' (one generator for both domains) or 'per_domain'.
        discriminator_sharing (str): 'per_domain' or 'shared' (one trunk, one logit channel per domain).
        encoder_labels (str): 'cross' as in the paper; 'own' flips E's adversarial labels, the negative control in which
            nothing pulls the domains together.
        begin (float): Share of the iterations at which the adaptation begins.
        end (float): Share of the iterations at which it ends.

    Raises:
        ValueError: If a weight is negative or not finite, or an option is unknown.
    """

    players = ('discriminator', 'generator')

    def __init__(
        self,
        generator: dict,
        discriminator: dict,
        loss_gan: dict,
        encoder_adversarial_weight: float = 0.001,
        generator_adversarial_weight: float = 0.1,
        reconstruction_weight: float = 1.0,
        generator_sharing: str = 'shared',
        discriminator_sharing: str = 'per_domain',
        encoder_labels: str = 'cross',
        begin: float = 0.0,
        end: float = 1.0,
    ) -> None:
        super().__init__(begin, end)
        weights = {
            'encoder_adversarial_weight': encoder_adversarial_weight,
            'generator_adversarial_weight': generator_adversarial_weight,
            'reconstruction_weight': reconstruction_weight,
        }
        for name, value in weights.items():
            setattr(self, name, check_number('ImageAdversary', name, value, at_least=0))
        self.encoder_labels = check_choice('ImageAdversary', 'encoder_labels', encoder_labels, ('cross', 'own'))
        self._networks = generator, generator_sharing, discriminator, discriminator_sharing
        self.loss_gan = MODELS.build(loss_gan)

    def connect(self, segmentor: UDASegmentor) -> None:
        """Build G for the segmentor's embedding, and D."""
        generator, generator_sharing, discriminator, discriminator_sharing = self._networks
        execution = segmentor.execution
        self.batches_domains = execution.batch_domains
        if segmentor.image_channels != 3:
            generator = {'out_channels': segmentor.image_channels, **generator}
            discriminator = {'in_channels': segmentor.image_channels, **discriminator}
        # Unless told otherwise, G rebuilds from the maps that the head reads.
        generator = execution.of_network('generator', {**segmentor.maps_of_head, **generator})
        self.generator = GeneratorPlayer(generator, generator_sharing, execution.compile)
        self.discriminator = DiscriminatorPlayer(discriminator, discriminator_sharing, execution.compile)

    @property
    def reads(self) -> dict[str, Level]:
        """dict[str, str]: The embeddings of both domains, unless every term is switched off."""
        return dict.fromkeys(DOMAINS, 'features') if self.trained_players else {}

    @property
    def trains_generator(self) -> bool:
        """bool: Whether any term of G's loss is switched on."""
        return self.generator_adversarial_weight > 0 or self.reconstruction_weight > 0

    @property
    def trains_discriminator(self) -> bool:
        """bool: Whether any player asks D."""
        return self.generator_adversarial_weight > 0 or self.encoder_adversarial_weight > 0

    @property
    def trained_players(self) -> tuple[str, ...]:
        """tuple[str, ...]: D and G, each if a term of its loss is switched on."""
        trained = {'discriminator': self.trains_discriminator, 'generator': self.trains_generator}
        return tuple(name for name in self.players if trained[name])

    def before_encoder(self, encoded: Encoded, step: Step) -> Log:
        """Update D, then G (paper §3.4, steps 1 and 2)."""
        log: Log = {}
        if not self.trained_players:
            return log
        pictures = {name: denormalize(step.images[name], step.preprocessor) for name in DOMAINS}
        fakes = self._rebuild_for_own_updates(encoded, step)
        if self.trains_discriminator:
            log |= self._update_discriminator(pictures, fakes, step)
        if self.trains_generator:
            log |= self._update_generator(pictures, fakes, step)
        return log

    def _rebuild_for_own_updates(self, encoded: Encoded, step: Step) -> dict[Domain, Tensor]:
        """Rebuild pictures for D's and G's updates, which leave the encoder alone."""
        if not self.trains_generator:
            with torch.no_grad(), step.context('discriminator'):
                return self._rebuild(encoded, step)
        with step.context('generator'):
            return self._rebuild(encoded, step)

    def _update_discriminator(
        self, pictures: Mapping[Domain, Tensor], fakes: Mapping[Domain, Tensor], step: Step
    ) -> Log:
        """Tell own-domain real pictures from rebuilt ones (paper §3.4, step 1)."""
        asked: list[Asked] = []
        for domain in DOMAINS:
            asked += [
                (domain, f'{domain}/real', pictures[domain]),
                (domain, f'{domain}/fake', fakes[domain].detach()),
            ]
        terms, right = {}, {domain: [] for domain in DOMAINS}
        with step.context('discriminator'):
            for (domain, name, _), logits in zip(asked, self._discriminate(asked, step), strict=True):
                is_real = name.endswith('/real')
                terms[f'loss {name}'] = self.loss_gan(logits, target_is_real=is_real, for_discriminator=True)
                right[domain].append(((logits.detach() > self.loss_gan.decision_boundary) == is_real).float().mean())
        total = step.update('discriminator', terms)
        of_domains = {domain: torch.stack(shares).mean() for domain, shares in right.items()}
        return {'discriminator.loss': total, **accuracies('discriminator', of_domains)}

    def _update_generator(self, pictures: Mapping[Domain, Tensor], fakes: Mapping[Domain, Tensor], step: Step) -> Log:
        """Pass for real in the own domain, and stay close to the image (paper §3.4, step 2)."""
        log: Log = {}
        with step.context('generator'):
            if self.generator_adversarial_weight > 0:
                judges = {domain: domain for domain in DOMAINS}
                log['generator.loss_adversarial'] = self.generator_adversarial_weight * self._fool(fakes, judges, step)
            if self.reconstruction_weight > 0:
                distance = sum(F.l1_loss(fakes[domain].float(), pictures[domain]) for domain in DOMAINS)
                log['generator.loss_reconstruction'] = self.reconstruction_weight * distance
        return {'generator.loss': step.update('generator', log), **log}

    def encoder_losses(self, encoded: Encoded, step: Step) -> Log:
        """Pass for the other domain (paper §3.4, step 3)."""
        if not self.encoder_adversarial_weight > 0:
            return {}
        fakes = self._rebuild(encoded, step)
        judges = {domain: OTHER_DOMAIN[domain] if self.encoder_labels == 'cross' else domain for domain in DOMAINS}
        return {'encoder.loss_adversarial': self.encoder_adversarial_weight * self._fool(fakes, judges, step)}

    def _fool(self, fakes: Mapping[Domain, Tensor], judges: Mapping[Domain, Domain], step: Step) -> Tensor:
        """Ask D to take rebuilt pictures for real ones of the judge's domain."""
        asked = [(judges[domain], f'{domain}/fake', fakes[domain]) for domain in DOMAINS]
        answers = self._discriminate(asked, step)
        return sum(self.loss_gan(logits, target_is_real=True, for_discriminator=False) for logits in answers)

    def _rebuild(self, encoded: Encoded, step: Step) -> dict[Domain, Tensor]:
        """Rebuild both domains' pictures, by a shared network as one batch where the step is computed so."""
        generator, features = step.module('generator'), encoded.features
        sizes = {domain: tuple(step.images[domain].shape[2:]) for domain in DOMAINS}
        if self.batches_domains and self.generator.sharing == 'shared':
            joint = [torch.cat(levels) for levels in zip(*(features[domain] for domain in DOMAINS), strict=True)]
            with step.seeded('generator/both'):
                fakes = generator(DOMAINS[0], joint, sizes[DOMAINS[0]])
            return dict(zip(DOMAINS, fakes.split([len(features[domain][0]) for domain in DOMAINS]), strict=True))
        fakes = {}
        for domain in DOMAINS:
            with step.seeded(f'generator/{domain}'):
                fakes[domain] = generator(domain, features[domain], sizes[domain])
        return fakes

    def _discriminate(self, asked: Sequence[Asked], step: Step) -> list[Tensor]:
        """Ask D, about all that one of its networks judges at once where the step is computed so."""
        discriminator = step.module('discriminator')
        groups: dict[object, list[int]] = {}
        for index, (judge, _, _) in enumerate(asked):
            network = self.discriminator.network_of(judge) if self.batches_domains else index
            groups.setdefault(network, []).append(index)
        answers: dict[int, Tensor] = {}
        for indices in groups.values():
            judges, names, pictures = zip(*(asked[index] for index in indices), strict=True)
            with step.seeded(f'discriminator/{"+".join(names)}'):
                answers |= dict(zip(indices, discriminator(judges, pictures), strict=True))
        return [answers[index] for index in range(len(asked))]

    @torch.no_grad()
    def reconstruct(self, embedding: Sequence[Tensor], domain: Domain, size: tuple[int, int]) -> Tensor:
        """Rebuild pictures (N, 3, H, W) in [-1, 1] of ``size`` (H, W), without noise in evaluation mode."""
        return self.generator.rebuild(domain, embedding, size)


def find_adversary(model: nn.Module) -> ImageAdversary | None:
    """Return the paper's adaptation of a model, or None if it has none."""
    adaptations = getattr(model, 'adaptations', {}).values()
    return next((one for one in adaptations if isinstance(one, ImageAdversary)), None)
