"""Encoder, generator and discriminator in alternation (paper §3.4)."""

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from cda_mmseg.models.pictures import to_pictures
from cda_mmseg.models.players import OTHER_DOMAIN, DiscriminatorPlayer, Domain, GeneratorPlayer, Question, frozen
from cda_mmseg.models.segmentors.step import Step
from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor

Features = dict[Domain, list[Tensor]]


def picture_sizes(step: Step) -> dict[Domain, tuple[int, int]]:
    """Return the height and width of each domain's images.

    Args:
        step (Step): The step.

    Returns:
        dict[str, tuple[int, int]]: (H, W) per domain.
    """
    return {domain: tuple(images.shape[2:]) for domain, images in step.images.items()}


@MODELS.register_module()
class AdversarialUDASegmentor(UDASegmentor):
    """Align two domains through pictures rebuilt from their embeddings (paper §3.4).

    One step updates, in this order and each with the others as they are by then:

    1. D: own-domain real against rebuilt, for both domains;
    2. G: its pictures shall pass for real ones of their own domain, and be close to the image (L1);
    3. E: its embeddings shall pass for real ones of the *other* domain once G has rebuilt them, plus the segmentation
       loss on the source.

    Each forward runs once where this order allows: E once per domain for all three updates, G once for D and itself.
    Only what an update really changed runs again. Players that are not being updated are frozen.

    Args:
        backbone (dict): Config of the backbone.
        decode_head (dict): Config of the decode head.
        generator (dict): Config of the generator network, such as ``ImageGenerator``; ``in_channels`` and ``in_index``
            are the decode head's if left out.
        discriminator (dict): Config of the discriminator network, such as ``PatchGANDiscriminator``.
        loss_gan (dict): Config of the adversarial loss, such as ``GANLoss``.
        encoder_adversarial_weight (float): Weight of the cross-domain term of E; 0 switches it off.
        generator_adversarial_weight (float): Weight of the own-domain term of G; 0 switches it off.
        reconstruction_weight (float): Weight of G's L1 distance to the image in [-1, 1]; 0 switches it off.
        generator_sharing (str): 'shared' (one generator for both domains) or 'per_domain'.
        discriminator_sharing (str): 'per_domain' or 'shared' (one trunk, one logit channel per domain).
        encoder_labels (str): 'cross' as in the paper; 'own' flips E's adversarial labels, the negative control in which
            nothing pulls the domains together.
        neck (dict | None): Config of the neck.
        auxiliary_head (dict | list[dict] | None): Config of auxiliary heads.
        train_cfg (dict | None): mmseg's training config.
        test_cfg (dict | None): mmseg's test config.
        data_preprocessor (dict | None): Config of the data preprocessor.
        pretrained (str | None): mmseg's older way to name the backbone's weights; its ``init_model`` passes None.
        init_cfg (dict | None): mmengine's initialisation config.
        execution (dict | None): How a step is computed, see :class:`Execution`.

    Raises:
        ValueError: If a weight is negative or not finite, or an option is unknown.
        TypeError: If a head's loss is not ``loss_by_feat(forward(x))``.
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        generator: dict,
        discriminator: dict,
        loss_gan: dict,
        encoder_adversarial_weight: float = 0.001,
        generator_adversarial_weight: float = 0.1,
        reconstruction_weight: float = 1.0,
        generator_sharing: str = 'shared',
        discriminator_sharing: str = 'per_domain',
        encoder_labels: str = 'cross',
        neck: dict | None = None,
        auxiliary_head: dict | list[dict] | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
        execution: dict | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            decode_head=decode_head,
            neck=neck,
            auxiliary_head=auxiliary_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            pretrained=pretrained,
            init_cfg=init_cfg,
            execution=execution,
        )
        weights = {
            'encoder_adversarial_weight': encoder_adversarial_weight,
            'generator_adversarial_weight': generator_adversarial_weight,
            'reconstruction_weight': reconstruction_weight,
        }
        for key, value in weights.items():
            if not 0 <= value < float('inf'):
                raise ValueError(f'model.{key} must be a finite number of at least 0, got {value}.')
        if encoder_labels not in ('cross', 'own'):
            raise ValueError(f"model.encoder_labels must be 'cross' or 'own', got {encoder_labels!r}.")
        self.encoder_adversarial_weight = encoder_adversarial_weight
        self.generator_adversarial_weight = generator_adversarial_weight
        self.reconstruction_weight = reconstruction_weight
        self.encoder_labels = encoder_labels
        # Unless told otherwise, G rebuilds from the maps that the head reads.
        # The config says so; a head that concatenates them keeps only the sum of their channels.
        maps = {key: decode_head.get(key, getattr(self.decode_head, key)) for key in ('in_channels', 'in_index')}
        maps = {key: [value] if isinstance(value, int) else list(value) for key, value in maps.items()}
        ways = self.execution.batch_domains, self.execution.compile
        generator = self.execution.of_network('generator', {**maps, **generator})
        self.generator = GeneratorPlayer(generator, generator_sharing, *ways)
        self.discriminator = DiscriminatorPlayer(discriminator, discriminator_sharing, *ways)
        self.loss_gan = MODELS.build(loss_gan)
        self.arrange_weights()

    @property
    def player_names(self) -> tuple[str, ...]:
        """tuple[str, ...]: Players in the order of their updates."""
        return ('discriminator', 'generator', 'encoder')

    def networks_of_both_domains(self) -> dict[str, nn.Module]:
        """Return the networks that both domains go through.

        Returns:
            dict[str, nn.Module]: Networks by their keys in the config.
        """
        return super().networks_of_both_domains() | {
            'generator': self.generator,
            'discriminator': self.discriminator,
        }

    @property
    def trains_generator(self) -> bool:
        """bool: Whether any term of G's loss is switched on."""
        return self.generator_adversarial_weight > 0 or self.reconstruction_weight > 0

    @property
    def trains_discriminator(self) -> bool:
        """bool: Whether any player asks D."""
        return self.generator_adversarial_weight > 0 or self.encoder_adversarial_weight > 0

    def trained_players(self) -> dict[str, nn.Module]:
        """Return the players whose loss is switched on; the others are not stepped.

        Returns:
            dict[str, nn.Module]: Players by name.
        """
        trained = {'discriminator': self.trains_discriminator, 'generator': self.trains_generator, 'encoder': True}
        return {name: self.player(name) for name in self.player_names if trained[name]}

    def adapt(self, step: Step) -> dict[str, Tensor]:
        """Update D, then G, then E (paper §3.4).

        Args:
            step (Step): The batch of both domains, the seeds and the optimizers.

        Returns:
            dict[str, Tensor]: Scalars to log.
        """
        # E's graph is kept until its own update: the updates of D and G change no tensor in it.
        with step.context('encoder'):
            encodings = step.forwards['encoder'](step.images, ('source',), step.slots)
        features = {domain: encoding[0] for domain, encoding in encodings.items()}
        log = self._update_discriminator_and_generator(features, step)
        return log | self._update_encoder(features, encodings['source'][1], step)

    def _update_discriminator_and_generator(self, features: Features, step: Step) -> dict[str, Tensor]:
        log: dict[str, Tensor] = {}
        if not (self.trains_discriminator or self.trains_generator):
            return log
        pictures = {domain: to_pictures(images, self.data_preprocessor) for domain, images in step.images.items()}
        fakes = self._rebuild_for_own_updates(features, step)
        if self.trains_discriminator:
            log |= self._update_discriminator(pictures, fakes, step)
        if self.trains_generator:
            log |= self._update_generator(pictures, fakes, step)
        return log

    def _rebuild_for_own_updates(self, features: Features, step: Step) -> dict[Domain, Tensor]:
        """Rebuild pictures for D's and G's updates, which leave the encoder alone."""
        embeddings = {domain: [level.detach() for level in maps] for domain, maps in features.items()}
        if not self.trains_generator:
            with torch.no_grad(), step.context('discriminator'):
                return self.generator(embeddings, picture_sizes(step), step.slots)
        with step.context('generator'):
            return step.forwards['generator'](embeddings, picture_sizes(step), step.slots)

    def _update_discriminator(
        self, pictures: dict[Domain, Tensor], fakes: dict[Domain, Tensor], step: Step
    ) -> dict[str, Tensor]:
        """Tell own-domain real pictures from rebuilt ones (paper §3.4, step 1)."""
        questions, answers_wanted = [], []
        for domain in pictures:
            questions += [
                Question(domain, pictures[domain], f'{domain}/real'),
                Question(domain, fakes[domain].detach(), f'{domain}/fake'),
            ]
            answers_wanted += [True, False]
        terms, right = {}, []
        with step.context('discriminator'):
            answers = step.forwards['discriminator'](questions, step.slots)
            for question, logits, is_real in zip(questions, answers, answers_wanted, strict=True):
                terms[question.slot] = self.loss_gan(logits, target_is_real=is_real, for_discriminator=True)
                right.append(((logits.detach() > self.loss_gan.decision_boundary) == is_real).float().mean())
        total = self.update('discriminator', terms, step)
        return {'discriminator.loss': total, 'discriminator.accuracy': torch.stack(right).mean()}

    def _update_generator(
        self, pictures: dict[Domain, Tensor], fakes: dict[Domain, Tensor], step: Step
    ) -> dict[str, Tensor]:
        """Pass for real in the own domain, and stay close to the image (paper §3.4, step 2)."""
        log: dict[str, Tensor] = {}
        with frozen(self.discriminator), step.context('generator'):
            if self.generator_adversarial_weight > 0:
                judges = {domain: domain for domain in fakes}
                log['generator.loss_adversarial'] = self.generator_adversarial_weight * self._fool(fakes, judges, step)
            if self.reconstruction_weight > 0:
                distance = sum(F.l1_loss(fake.float(), pictures[domain]) for domain, fake in fakes.items())
                log['generator.loss_reconstruction'] = self.reconstruction_weight * distance
        return {'generator.loss': self.update('generator', log, step), **log}

    def _update_encoder(self, features: Features, scores: list[Tensor], step: Step) -> dict[str, Tensor]:
        """Pass for the other domain, and segment the source (paper §3.4, step 3)."""
        with frozen(self.generator, self.discriminator), step.context('encoder'):
            log = self.segmentation_losses(scores, step.batches['source']['data_samples'])
            if self.encoder_adversarial_weight > 0:
                fakes = self.generator(features, picture_sizes(step), step.slots)
                judges = {
                    domain: OTHER_DOMAIN[domain] if self.encoder_labels == 'cross' else domain for domain in fakes
                }
                log['encoder.loss_adversarial'] = self.encoder_adversarial_weight * self._fool(fakes, judges, step)
        total = self.update('encoder', {name: value for name, value in log.items() if 'loss' in name}, step)
        return {'loss': total, **log}

    def _fool(self, fakes: dict[Domain, Tensor], judges: dict[Domain, Domain], step: Step) -> Tensor:
        """Ask D to take rebuilt pictures for real ones of the judge's domain."""
        questions = [Question(judges[domain], fake, f'{domain}/fake') for domain, fake in fakes.items()]
        answers = self.discriminator(questions, step.slots)
        return sum(self.loss_gan(logits, target_is_real=True, for_discriminator=False) for logits in answers)

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, domain: Domain) -> Tensor:
        """Rebuild images from their embedding, without noise if the model is in evaluation mode.

        Args:
            inputs (Tensor): Normalised images (N, 3, H, W).
            domain (str): Domain of the images.

        Returns:
            Tensor: Pictures (N, 3, H, W) in [-1, 1], in the network's channel order.
        """
        return self.generator.rebuild(domain, self.encoder.embed(inputs), tuple(inputs.shape[2:]))
