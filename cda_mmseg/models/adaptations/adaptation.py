"""What an adaptation is: terms and updates that join the segmentor's training step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mmengine.model import BaseModule
from torch import Tensor

from cda_mmseg.models.losses.checks import check_number
from cda_mmseg.utils.progress import TrainingProgress, iteration_at

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from cda_mmseg.models.segmentors.step import Step
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor

Log = dict[str, Tensor]
"""Scalars by name; those with 'loss' in their names are loss terms."""

Level = Literal['images', 'features', 'scores']


@dataclass(frozen=True)
class Encoded:
    """What the segmentation network made of the images, per batch name.

    Attributes:
        features: Maps (N, C_i, H_i, W_i) of backbone and neck.
        scores: Outputs of decode head and auxiliary heads; an empty list where nothing reads them.
    """

    features: dict[str, list[Tensor]]
    scores: dict[str, list]

    def detached(self) -> Encoded:
        """Return the same without a graph."""
        return Encoded(
            *(
                {name: [_detach(one) for one in outputs] for name, outputs in group.items()}
                for group in (self.features, self.scores)
            )
        )


def _detach(output: Tensor | list | tuple) -> Tensor | list:
    """Detach a head's output, which some heads give as several maps."""
    return output.detach() if isinstance(output, Tensor) else [_detach(one) for one in output]


class Adaptation(BaseModule):
    """Add terms to the segmentor's loss, and players of its own.

    The segmentor's step calls, in this order: :meth:`prepare`; :meth:`separate_losses`; the forward pass of what
    :attr:`reads` asks for; :meth:`before_encoder`; :meth:`encoder_losses`, whose terms and the segmentation loss on the
    source update the segmentation network E; :meth:`after_encoder`. A method overrides what it needs. Its children are
    its networks; whatever it keeps beside them between steps must be a buffer.

    Args:
        begin (float): Share of the iterations at which the adaptation begins, in [0, 1].
        end (float): Share of the iterations at which it ends, in [0, 1].
        init_cfg (dict | None): mmengine's initialisation config.

    Attributes:
        players: Names of the children that have an optimizer of their own, unique in a model.
        terms_of: Domains of which :meth:`encoder_losses` has terms, each of which needs that domain alone; None if it
            needs all domains at once. Where no adaptation has None, :meth:`before_encoder` and :meth:`after_encoder`
            get the feature maps of those domains only of which 'features' are read. Without ``batch_domains``, and
            where none overrides :meth:`before_encoder`, E then takes one domain after the other, and half the memory:
            :meth:`encoder_losses` is called once per domain, with that domain only, and terms of one name are added up.

    Raises:
        ValueError: If ``begin`` or ``end`` is out of its range, or nothing lies between them.
    """

    players: tuple[str, ...] = ()
    terms_of: tuple[str, ...] | None = None

    def __init__(self, begin: float = 0.0, end: float = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        owner = type(self).__name__
        self.begin = check_number(owner, 'begin', begin, at_least=0, at_most=1)
        self.end = check_number(owner, 'end', end, at_least=0, at_most=1)
        if self.begin >= self.end:
            raise ValueError(f'{owner}: begin={begin} must be smaller than end={end}.')

    @property
    def reads(self) -> dict[str, Level]:
        """dict[str, str]: What is needed of each domain: its 'images', also 'features', or also 'scores'.

        What no adaptation reads is not loaded, encoded or scored. The source is always scored.
        """
        return {}

    @property
    def trained_players(self) -> tuple[str, ...]:
        """tuple[str, ...]: The players that have a loss; the others are not stepped."""
        return self.players

    def connect(self, segmentor: UDASegmentor) -> None:
        """Build what depends on the segmentation network; called once, at the end of the segmentor's constructor."""

    def study(self, datasets: Mapping[str, Dataset]) -> None:
        """Compute statistics of the training data.

        Called by every process before the first step of a run and of a resumed one, once the weights are in place.
        What takes long belongs into :func:`cda_mmseg.datasets.cache.computed_once`.

        Args:
            datasets (Mapping[str, Dataset]): The training sets of the domains that the model reads, by name.
        """

    def iterations(self, max_iters: int) -> range:
        """Return the iterations during which the adaptation takes part in a run of this length."""
        # Without the small number .55 * 100 = 55.000000000000007 would begin at 56.
        return range(*(iteration_at(share, max_iters) for share in (self.begin, self.end)))

    def begun_for(self, progress: TrainingProgress) -> int:
        """Count the iterations since the adaptation began; 0 in its first."""
        return progress.iteration - self.iterations(progress.max_iters).start

    def prepare(self, step: Step) -> None:
        """Act before the segmentation network runs: move a teacher, add named batches to ``step.images``."""

    def separate_losses(self, step: Step) -> Iterator[Log]:
        """Yield terms of E's loss that have graphs of their own.

        Each is back-propagated before the next is asked for and before the main forward pass, so that the graphs of
        source, mixed and masked images need not be in memory at once.
        """
        return iter(())

    def before_encoder(self, encoded: Encoded, step: Step) -> Log:
        """Update own players before E is updated; ``encoded`` carries no graph."""
        return {}

    def encoder_losses(self, encoded: Encoded, step: Step) -> Log:
        """Return terms of E's loss, weighted; gradients reach E alone, every player is frozen."""
        return {}

    def after_encoder(self, encoded: Encoded, step: Step) -> Log:
        """Update own players after E was updated; ``encoded`` is that of before, without a graph."""
        return {}
