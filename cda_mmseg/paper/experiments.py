"""What the paper trained: one experiment per distinct model, whichever tables it stands in."""

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Reading = Literal['paper', 'equal-ratio']
READINGS: tuple[Reading, Reading] = ('paper', 'equal-ratio')

GTAV = 'gta2city'
SYNTHIA = 'synthia2city'
PAIR_TITLES = MappingProxyType({GTAV: 'GTAV → Cityscapes', SYNTHIA: 'SYNTHIA → Cityscapes'})

RIVALS = ('output_space', 'fcns_in_the_wild', 'curriculum')
"""Methods of the paper's competitors, files of ``configs/_base_/methods`` without suffix."""

# The same as in configs/_base_/methods/gan_cl.py.
DEFAULT_BASE = math.e
DEFAULT_WEIGHT = 5.0


@dataclass(frozen=True)
class Experiment:
    """A model to train, up to data set and seed.

    Attributes:
        name (str): Name of its folder.
        method (str): File of ``configs/_base_/methods``, without suffix.
        pair (str): The paper's pair of data sets, ``'gta2city'`` or ``'synthia2city'``.
        changes (tuple[tuple[str, float | str], ...]): Dotted keys of the segmentation loss's config, and values.
        reading (str): ``'paper'`` keeps the adversarial weight of the config; ``'equal-ratio'`` rescales it, so that
            the ratio of adversarial to segmentation gradient on E at the end of the warm start is that of GAN + CE.
    """

    name: str
    method: str
    pair: str = GTAV
    changes: tuple[tuple[str, float | str], ...] = ()
    reading: Reading = 'paper'

    @property
    def folder(self) -> str:
        """str: Pair and name, unlike those of any other experiment."""
        return f'{self.pair}/{self.name}' + ('' if self.reading == 'paper' else f'_{self.reading.replace("-", "_")}')

    @property
    def adversarial(self) -> bool:
        """bool: Whether generator and discriminator train."""
        return self.method not in ('source_only', *RIVALS)

    @property
    def kind(self) -> str:
        """str: What experiments that take alike long have in common."""
        return 'gan' if self.adversarial else self.method

    @property
    def has_warm_start(self) -> bool:
        """bool: Whether the segmentation loss changes from cross entropy to another one during the run."""
        return self.adversarial and self.method != 'gan_ce' and ('warm_fraction', 0.0) not in self.changes

    def read(self, reading: Reading) -> 'Experiment':
        """Return the experiment in one of the two readings of a loss ablation.

        In ``equal-ratio`` the weight λ of the Conservative Loss is no variable: λ and the adversarial weight grow by
        one factor, which Adam cancels. All λ are one experiment there.

        Args:
            reading (str): 'paper' or 'equal-ratio'.

        Returns:
            Experiment: The experiment in this reading.
        """
        if reading == 'paper' or not self.has_warm_start:
            return self
        if [key for key, _ in self.changes] == ['main.loss_weight']:
            return replace(gan_cl(pair=self.pair), reading=reading)
        return replace(self, reading=reading)


def source_only(pair: str = GTAV) -> Experiment:
    """Name the baseline: FCN8s + CE, NoAdapt.

    Args:
        pair (str): Pair of data sets.

    Returns:
        Experiment: The experiment.
    """
    return Experiment('source_only', 'source_only', pair)


def rival(method: str, pair: str = GTAV) -> Experiment:
    """Name a competitor's method on the paper's own network.

    Args:
        method (str): One of :data:`RIVALS`.
        pair (str): Pair of data sets.

    Returns:
        Experiment: The experiment.
    """
    return Experiment(method, method, pair)


def gan_ce(pair: str = GTAV) -> Experiment:
    """Name FCN8s + GAN + CE.

    Args:
        pair (str): Pair of data sets.

    Returns:
        Experiment: The experiment.
    """
    return Experiment('gan_ce', 'gan_ce', pair)


def gan_cl(base: float = DEFAULT_BASE, weight: float = DEFAULT_WEIGHT, pair: str = GTAV) -> Experiment:
    """Name the full method, FCN8s + GAN + CL with a warm start.

    Args:
        base (float): a.
        weight (float): λ.
        pair (str): Pair of data sets.

    Returns:
        Experiment: The experiment.
    """
    name: str = 'gan_cl'
    changes: tuple[tuple[str, float], ...] = ()
    if base != DEFAULT_BASE:
        name, changes = f'{name}_base_{_exactly(base)}', (*changes, ('main.base', base))
    if weight != DEFAULT_WEIGHT:
        name, changes = f'{name}_weight_{_exactly(weight)}', (*changes, ('main.loss_weight', weight))
    return Experiment(name, 'gan_cl', pair, changes)


def gan_cl_cold(pair: str = GTAV) -> Experiment:
    """Name the full method from a cold start: CL, clamped to [-10, 10], from the first iteration.

    Args:
        pair (str): Pair of data sets.

    Returns:
        Experiment: The experiment.
    """
    return Experiment('gan_cl_cold', 'gan_cl', pair, (('warm_fraction', 0.0), ('main.clamp', 10.0)))


def gan_cl_read(gradient: str, pair: str = GTAV) -> Experiment:
    """Name the full method with another reading of the Conservative Loss's gradient.

    Args:
        gradient (str): 'reversed' or 'weighted'.
        pair (str): Pair of data sets.

    Returns:
        Experiment: The experiment.
    """
    return Experiment(f'gan_cl_{gradient}', 'gan_cl', pair, (('main.gradient', gradient),))


def gan_with(method: str, pair: str = GTAV) -> Experiment:
    """Name FCN8s + GAN with another segmentation loss after the warm start.

    Args:
        method (str): 'gan_focal', 'gan_loss1', 'gan_loss2' or 'gan_loss3'.
        pair (str): Pair of data sets.

    Returns:
        Experiment: The experiment.
    """
    return Experiment(method, method, pair)


def _exactly(value: float) -> str:
    """Write a number so that no other one is written alike, 2.0 as 2."""
    return str(value).removesuffix('.0')
