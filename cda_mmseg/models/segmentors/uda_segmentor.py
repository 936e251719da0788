"""An ordinary segmentor that trains on the source's labels plus what its adaptations ask for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.model import ModuleDict
from mmengine.optim import OptimWrapperDict
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cda_mmseg.models.adaptations.adaptation import Adaptation, Encoded, Level, Log
from cda_mmseg.models.losses.checks import check_number
from cda_mmseg.models.players import DOMAINS, EncoderPlayer
from cda_mmseg.models.segmentors import signals
from cda_mmseg.models.segmentors.execution import Execution
from cda_mmseg.models.segmentors.head_losses import check_heads, head_losses
from cda_mmseg.models.segmentors.head_maps import head_maps_compared
from cda_mmseg.models.segmentors.single_values import single_values_named
from cda_mmseg.models.segmentors.step import Step
from cda_mmseg.utils.progress import TrainingProgress

ACCURACY_INTERVAL = 50
LEVELS: tuple[Level, ...] = ('images', 'features', 'scores')
NOTABLE_PADDING = 0.1
GRADIENT_RATIO = 'encoder.gradient_ratio'

MOVED = {
    *('generator', 'discriminator', 'loss_gan', 'generator_sharing', 'discriminator_sharing', 'encoder_labels'),
    *('encoder_adversarial_weight', 'generator_adversarial_weight', 'reconstruction_weight'),
}
"""Keys of ``model`` in configs of before adaptations could be combined."""


def check_test_cfg(config: Mapping) -> None:
    """Refuse at the start what would end the first validation.

    Args:
        config: ``model.test_cfg``.

    Raises:
        ValueError: If its mode is unknown, or windows have no size, no stride, or gaps between them.
    """
    if (mode := config.get('mode', 'whole')) not in ('whole', 'slide'):
        raise ValueError(f"model.test_cfg.mode must be 'whole' or 'slide', got {mode!r}.")
    if mode == 'slide':
        sizes = [config.get(key) for key in ('crop_size', 'stride')]
        if not all(isinstance(size, Sequence) and len(size) == 2 for size in sizes):
            raise ValueError(
                "model.test_cfg.mode='slide' needs the windows' size and distance in pixels, (height, width): "
                f'crop_size=(512, 1024), stride=(256, 512). Got crop_size={sizes[0]}, stride={sizes[1]}.'
            )
        if any(not 0 < step <= side for side, step in zip(*sizes, strict=True)):
            raise ValueError(
                f'model.test_cfg.stride={sizes[1]} must be positive and no larger than crop_size={sizes[0]}: pixels '
                'between two windows would have no prediction.'
            )


@MODELS.register_module()
class UDASegmentor(EncoderDecoder):
    """Train an ``EncoderDecoder`` on the source's labels plus what a dict of adaptations asks for.

    Without any it is the source-only baseline. Prediction, test-time augmentation, the inferencer and the checkpoint
    keys of backbone, neck and heads are mmseg's; an adaptation's own are ``adaptations.<name>.*``.

    Args:
        adaptations (dict | None): Config per name; one that is None is off.
        execution (dict | None): How a step is computed, see :class:`Execution`.
        freeze_batch_norm (bool): Keep every BatchNorm of backbone, neck and heads in evaluation mode, so that its
            running statistics stay; scale and shift are trained. For a backbone it is what ``norm_eval=True`` is where
            that exists. A BatchNorm without statistics to keep, as in a new head, normalises nothing: use GroupNorm.
        gradient_ratio_interval (int | None): Iterations from one measurement of ``encoder.gradient_ratio`` to the next,
            see :func:`~cda_mmseg.models.segmentors.signals.gradient_ratio`; None for none. Terms with graphs of their
            own, such as self-training's, have no part in it.
        **encoder_decoder: Arguments of mmseg's ``EncoderDecoder``; heads must compute ``loss_by_feat(forward(x))``.

    Attributes:
        class_names (tuple[str, ...]): Names of the classes in the log; their numbers unless somebody sets them.

    Raises:
        TypeError: If a head's loss is of another kind, an adaptation is none, or an argument is unknown.
        ValueError: If ``execution`` is not one, two adaptations have a player of one name, or ``test_cfg`` does not say
            how to predict.
    """

    def __init__(
        self,
        *,
        adaptations: dict | None = None,
        execution: dict | None = None,
        freeze_batch_norm: bool = False,
        gradient_ratio_interval: int | None = None,
        **encoder_decoder: object,
    ) -> None:
        moved = sorted(MOVED & encoder_decoder.keys())
        if moved:
            raise TypeError(
                f'model has {moved}, which belong to an adaptation since several can be combined: write '
                "adaptations=dict(image_adversary=dict(type='ImageAdversary', ...)), as "
                'configs/_base_/methods/gan_ce.py does.'
            )
        choice = Execution.from_config(execution)
        encoder_decoder['backbone'] = choice.of_network('backbone', encoder_decoder['backbone'])
        head_config = encoder_decoder['decode_head']
        if not isinstance(head_config, Mapping):
            raise TypeError('model.decode_head must describe one head; for cascades of heads there is no adaptation.')
        encoder_decoder['test_cfg'] = ConfigDict({'mode': 'whole', **(encoder_decoder.get('test_cfg') or {})})
        check_test_cfg(encoder_decoder['test_cfg'])
        super().__init__(**encoder_decoder)
        self.backbone_config = encoder_decoder['backbone']
        self.execution = choice
        self.freeze_batch_norm = freeze_batch_norm
        self.gradient_ratio_interval = gradient_ratio_interval
        if gradient_ratio_interval is not None:
            check_number('UDASegmentor', 'gradient_ratio_interval', gradient_ratio_interval, at_least=1)
        self.class_names = tuple(map(str, range(self.num_classes)))
        convolutions = (one for one in self.backbone.modules() if isinstance(one, nn.Conv2d))
        self.image_channels = next((one.in_channels for one in convolutions), 3)
        # The config says so; a head that concatenates its maps keeps only the sum of their channels.
        maps = {key: head_config.get(key, getattr(self.decode_head, key)) for key in ('in_channels', 'in_index')}
        self.maps_of_head = {key: [value] if isinstance(value, int) else list(value) for key, value in maps.items()}
        # Inside a tuple, so that the view is not registered as a child and adds no keys.
        self._encoder_view = (EncoderPlayer(self, choice.compile),)
        check_heads(self.encoder)
        self.progress = TrainingProgress()
        self.logged_terms: dict[str, list[str]] = {}
        self._checked_players: set[str] = set()
        self._warned_of_padding: set[str] = set()
        self.adaptations = ModuleDict(
            {name: MODELS.build(config) for name, config in (adaptations or {}).items() if config is not None}
        )
        for name, adaptation in self.adaptations.items():
            if not isinstance(adaptation, Adaptation):
                raise TypeError(f'model.adaptations.{name} must be an Adaptation, got {type(adaptation).__name__}.')
            adaptation.connect(self)
        self._owners = self._find_owners()
        self.arrange_weights()

    def _find_owners(self) -> dict[str, str]:
        """Tell which adaptation each player belongs to."""
        owners: dict[str, str] = {}
        for name, adaptation in self.adaptations.items():
            for player in adaptation.players:
                if player == 'encoder' or player in owners:
                    raise ValueError(
                        f'model.adaptations.{name} and {owners.get(player, "the segmentor")} both have a player '
                        f"{player!r}. Rename one, for instance with {name}=dict(player='{name}_{player}')."
                    )
                owners[player] = name
        return owners

    @property
    def domains(self) -> tuple[str, ...]:
        """tuple[str, ...]: Domains that some adaptation reads at some time; the loop loads no others."""
        return tuple(self._levels(self.adaptations.values()))

    @property
    def encoder(self) -> EncoderPlayer:
        """EncoderPlayer: A view of backbone, neck and heads."""
        return self._encoder_view[0]

    @property
    def player_names(self) -> tuple[str, ...]:
        """tuple[str, ...]: Keys that ``optim_wrapper`` may have."""
        return (*self._owners, 'encoder')

    def player(self, name: str) -> nn.Module:
        """Return a player by name."""
        return self.encoder if name == 'encoder' else getattr(self.adaptations[self._owners[name]], name)

    def trained_players(self) -> dict[str, nn.Module]:
        """dict[str, nn.Module]: Players that have a loss, by name; the others are not stepped."""
        trained = {player for adaptation in self.adaptations.values() for player in adaptation.trained_players}
        return {name: self.player(name) for name in self.player_names if name in trained or name == 'encoder'}

    def train(self, mode: bool = True) -> UDASegmentor:
        """Set the mode, except for BatchNorm layers with ``freeze_batch_norm``."""
        super().train(mode)
        if mode and self.freeze_batch_norm:
            for layer in self.encoder.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def set_progress(self, progress: TrainingProgress) -> None:
        """Tell the model, and every module in it that follows a schedule, where the run stands."""
        self.progress = progress
        for module in self.modules():
            if module is not self and hasattr(module, 'set_progress'):
                module.set_progress(progress)

    def active_adaptations(self) -> dict[str, Adaptation]:
        """Return the adaptations that take part in the step about to be taken, by name."""
        at, length = self.progress.iteration, self.progress.max_iters
        return {name: one for name, one in self.adaptations.items() if at in one.iterations(length)}

    def train_step(
        self, data: dict, optim_wrapper: OptimWrapperDict, forwards: Mapping[str, nn.Module] | None = None
    ) -> dict[str, float]:
        """Take one training step: every player is updated once."""
        if 'source' not in data or not isinstance(optim_wrapper, OptimWrapperDict):
            raise TypeError(
                f'{type(self).__name__} needs a batch per domain and an optimizer per player: set '
                "train_cfg.type='UDATrainLoop'. mmengine's loops train model.type='EncoderDecoder', which takes no "
                'adaptations and no execution.'
            )
        if self._checked_players:
            return self._train_step(data, optim_wrapper, forwards)
        with head_maps_compared(self.encoder), single_values_named(self):
            return self._train_step(data, optim_wrapper, forwards)

    def _train_step(
        self, data: dict, optim_wrapper: OptimWrapperDict, forwards: Mapping[str, nn.Module] | None
    ) -> dict[str, float]:
        active = self.active_adaptations()
        levels = self._levels(active.values())
        step = self._make_step({name: data[name] for name in levels}, optim_wrapper, forwards)
        logs: dict[str, Log] = {name: {} for name in active}
        for adaptation in active.values():
            adaptation.prepare(step)
        for name, adaptation in active.items():
            logs[name] |= self._train_separate_losses(adaptation, step)

        plain, signs, log = self._train_encoder(levels, active, logs, step)
        for name, adaptation in active.items():
            logs[name] |= adaptation.after_encoder(plain, step)
        # What is logged now and then ends with any adaptation that it is of; with another one it comes back.
        of_target = [f'target.share.{name}' for name in self.class_names] + ['target.confidence', GRADIENT_RATIO]
        self.logged_terms = {
            name: sorted({*terms, *(of_target if 'target' in active[name].reads else ())})
            for name, terms in logs.items()
        }
        return step.finish({**self._unite(log, logs), **signs})

    @torch.no_grad()
    def _signals(self, encoded: Encoded, step: Step) -> Log:
        """Measure every now and then what is predicted; the target is scored for it if nobody else wants it."""
        if (self.progress.iteration + 1) % signals.INTERVAL:
            return {}
        scores = {name: outputs[0] for name, outputs in encoded.scores.items() if outputs}
        if not isinstance(scores['source'], Tensor) or scores['source'].shape[1] < 2:
            return {}
        if 'target' in step.images and 'target' not in scores:
            encoder = step.players['encoder']
            with step.context('encoder'), signals.evaluating(encoder), step.seeded('signals'):
                features = encoded.features.get('target') or encoder.embed(step.images['target'])
                scores['target'] = encoder.decode_head.forward(features)
        log = signals.source_signals(scores['source'], step.labels['source'], self.decode_head, self.class_names)
        return log | (signals.target_signals(scores['target'], self.class_names) if 'target' in scores else {})

    def _train_separate_losses(self, adaptation: Adaptation, step: Step) -> Log:
        """Back-propagate the terms that have graphs of their own, one after the other."""
        log: Log = {}
        terms = iter(adaptation.separate_losses(step))
        while True:
            with step.context('encoder', synchronised=False):
                losses = next(terms, None)
            if losses is None:
                return log
            step.backward('encoder', losses)
            log |= {name: value.detach() for name, value in losses.items()}

    def _train_encoder(
        self, levels: Mapping[str, Level], active: Mapping[str, Adaptation], logs: Mapping[str, Log], step: Step
    ) -> tuple[Encoded, Log, Log]:
        """Encode what is read and update E; enter the adaptations' terms into ``logs``.

        Where each domain's terms need that domain alone, they are back-propagated before the next domain is encoded, so
        that one graph is in memory at a time. The source comes last: its losses reach all of E.
        """
        read = [name for name, level in levels.items() if level != 'images']
        apart = self._goes_apart(active, read)
        plain = Encoded({}, {})
        kept = read
        if all(one.terms_of is not None for one in active.values()):
            kept = [name for name in read if any(one.reads.get(name) == 'features' for one in active.values())]
        for group in [[name] for name in reversed(read)] if apart else [read]:
            is_last = 'source' in group
            with step.context('encoder', synchronised=is_last):
                scored = [name for name in group if levels[name] == 'scores']
                encoded = step.encode({name: step.images[name] for name in group}, scored)
            detached = encoded.detached()
            plain.scores.update(detached.scores)
            plain.features.update({name: maps for name, maps in detached.features.items() if name in kept})
            del detached
            if is_last:
                signs = self._signals(plain, step)
                for name, adaptation in active.items():
                    logs[name] |= adaptation.before_encoder(plain, step)
            asked = {name: one for name, one in active.items() if not apart or set(one.terms_of) & set(group)}
            with step.context('encoder', synchronised=is_last):
                log = self.segmentation_losses(encoded.scores['source'], step.labels['source']) if is_last else {}
                terms = {name: adaptation.encoder_losses(encoded, step) for name, adaptation in asked.items()}
                ratio = self._gradient_ratio(log, self._unite({}, terms), encoded) if is_last else {}
            losses = self._unite(log, terms)
            del encoded
            if is_last:
                total = step.update('encoder', losses)
            elif losses:
                step.backward('encoder', losses)
            for name, values in terms.items():
                for key, value in values.items():
                    logs[name][key] = logs[name].get(key, 0) + value.detach()
        return plain, signs, {'loss': total + step.separate_total, **log, **ratio}

    def _goes_apart(self, active: Mapping[str, Adaptation], read: Sequence[str]) -> bool:
        """Say whether E goes through one domain after the other."""
        return (
            len(read) > 1
            and not self.execution.batch_domains
            and not self._ratio_is_due()
            and all(
                adaptation.terms_of is not None
                # which comes before all terms, but needs the features of all domains
                and type(adaptation).before_encoder is Adaptation.before_encoder
                for adaptation in active.values()
            )
        )

    def _ratio_is_due(self) -> bool:
        interval = self.gradient_ratio_interval
        return bool(interval) and not (self.progress.iteration + 1) % interval

    def _gradient_ratio(self, segmentation: Log, adaptation: Log, encoded: Encoded) -> Log:
        """Measure the ratio where it is switched on and there is one."""
        if not self._ratio_is_due() or not any('loss' in name for name in adaptation):
            return {}
        features = [one for maps in encoded.features.values() for one in maps if one.requires_grad]
        return {GRADIENT_RATIO: signals.gradient_ratio(adaptation, segmentation, features)}

    @staticmethod
    def _unite(log: Log, logs: Mapping[str, Log]) -> Log:
        """Bring the values of all adaptations together, none in the place of another."""
        united = dict(log)
        for name, values in logs.items():
            if united.keys() & values.keys():
                raise ValueError(
                    f'The adaptation {name} logs {sorted(united.keys() & values.keys())}, as another part of the model '
                    'does: name its values after it.'
                )
            united |= values
        return united

    def _levels(self, adaptations: Iterable[Adaptation]) -> dict[str, Level]:
        """Unite what adaptations read of each domain, in the order of the domains."""
        levels: dict[str, Level] = {'source': 'scores'}
        for adaptation in adaptations:
            for domain, level in adaptation.reads.items():
                levels[domain] = max(levels.get(domain, level), level, key=LEVELS.index)
        return {domain: levels[domain] for domain in DOMAINS if domain in levels}

    def _make_step(self, data: dict, optim_wrapper: OptimWrapperDict, forwards: Mapping[str, nn.Module] | None) -> Step:
        batches = {name: self._preprocess(name, batch) for name, batch in data.items()}
        images = {name: batch['inputs'] for name, batch in batches.items()}
        if not self._checked_players:
            levels = self._levels(self.adaptations.values())
            encoded = [name for name, level in levels.items() if level != 'images']
            self.execution.check_networks(self._networks_that_train(), joins=len(encoded) > 1)
        labels = torch.stack([sample.gt_sem_seg.data[0] for sample in batches['source']['data_samples']])
        height, width = images['source'].shape[2:]
        return Step(
            images=images,
            labels={'source': labels[:, :height, :width]},
            samples={name: batch['data_samples'] for name, batch in batches.items()},
            preprocessor=self.data_preprocessor,
            progress=self.progress,
            players={name: self.player(name) for name in self.player_names},
            forwards=forwards or self.trained_players(),
            optim_wrapper=optim_wrapper,
            execution=self.execution,
            checked_players=self._checked_players,
            checks_at_once=images['source'].device.type == 'cpu',
        )

    def check_channels(self, found: int, where: str) -> None:
        """Compare an image's channels with those that the backbone takes, and with the preprocessor's means.

        Args:
            found (int): Channels of the image before it is normalised.
            where (str): What images these are, for errors.

        Raises:
            ValueError: If they do not fit.
        """
        means = self.data_preprocessor.mean.numel() if hasattr(self.data_preprocessor, 'mean') else 1
        if 1 not in (found, means) and found != means:
            raise ValueError(
                f'{where}: the pipeline gives {found} channels, but model.data_preprocessor has {means} means. Give '
                'mean and std one value each, for all channels, and bgr_to_rgb=False.'
            )
        if max(found, means) != self.image_channels:
            raise ValueError(
                f'{where}: the network takes {self.image_channels} channels and gets {max(found, means)}: the pipeline '
                f'gives {found}, model.data_preprocessor has {means} means. Set model.backbone.in_channels, the loader '
                "(LoadImageFromFile with color_type='grayscale' gives 1, 'unchanged' those of the file), mean and std."
            )

    def _preprocess(self, name: str, batch: dict) -> dict:
        """Normalise a batch, and cut it to the box that every image fills: no adaptation knows padding."""
        self.check_channels(len(batch['inputs'][0]), f'training images of the {name}')
        batch = self.data_preprocessor(batch, training=True)
        images = batch['inputs']
        shapes = [sample.metainfo.get('img_shape', images.shape[2:])[:2] for sample in batch['data_samples']]
        height, width = (min(sides) for sides in zip(*shapes, tuple(images.shape[2:]), strict=True))
        removed = 1 - height * width / images[0, 0].numel()
        if removed > NOTABLE_PADDING and name not in self._warned_of_padding:
            self._warned_of_padding.add(name)
            print_log(
                f'Training images of the {name} are padded: {removed:.0%} of a batch is cut off again, down to the '
                f'{height}x{width} (height x width) that all its images fill. Make crop_size and '
                'model.data_preprocessor.size alike, and no larger than the images.',
                logger='current',
                level=logging.WARNING,
            )
        images = images[:, :, :height, :width]
        if self.execution.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return {**batch, 'inputs': images}

    def _networks_that_train(self) -> dict[str, nn.Module]:
        """Name the networks that more than one batch goes through in a step."""
        networks = {key: getattr(self, key) for key in ('backbone', 'neck') if hasattr(self, key)}
        players = {f'adaptations.{owner}.{name}': self.player(name) for name, owner in self._owners.items()}
        if any(
            level == 'scores' for name, level in self._levels(self.adaptations.values()).items() if name != 'source'
        ):
            networks |= {key: getattr(self, key) for key in ('decode_head', 'auxiliary_head') if hasattr(self, key)}
        return networks | players if len(self.domains) > 1 else networks

    def arrange_weights(self) -> None:
        """Bring the weights into the layout that ``execution`` asks for."""
        if self.execution.channels_last:
            self.to(memory_format=torch.channels_last)

    def init_weights(self) -> None:
        """Draw or load the weights; a seed gives the same ones in every layout."""
        self.to(memory_format=torch.contiguous_format)
        super().init_weights()
        self.arrange_weights()

    def segmentation_losses(
        self,
        scores: Sequence[Tensor],
        labels: Tensor,
        prefix: str = '',
        weight: Tensor | None = None,
        loss: nn.Module | None = None,
    ) -> Log:
        """Compute the losses of all heads.

        Args:
            scores (Sequence[Tensor]): Outputs of decode head and auxiliary heads.
            labels (Tensor): Labels (N, H, W), int64.
            prefix (str): Begin of the terms' names, such as 'mixed.'.
            weight (Tensor | None): Weight of each pixel's loss, (N, H, W). The mean still divides by the labelled
                pixels of all processes, whatever their weights (by all pixels where ``avg_non_ignore=False``).
            loss (nn.Module | None): What takes the place of the decode head's loss; auxiliary heads keep theirs.

        Returns:
            Log: Terms with mmseg's prefixes, as ``decode.loss_ce``.

        Raises:
            TypeError: If pixels are weighted and a head's own loss cannot do so.
        """
        with_accuracy = (self.progress.iteration + 1) % ACCURACY_INTERVAL == 0 and not prefix
        return {
            f'{prefix}{name_of_head}.{name}': value
            for (name_of_head, head), output in zip(self.encoder.heads.items(), scores, strict=True)
            for name, value in head_losses(
                head, output, labels, weight, with_accuracy, loss if head is self.decode_head else None
            ).items()
        }
