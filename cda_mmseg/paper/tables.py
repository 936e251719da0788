"""The paper's tables: their rows, the numbers printed there, and the experiment that measures each row.

One more table, ``gradients``, is not in the paper: the three readings of the Conservative Loss's gradient.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cda_mmseg.paper.experiments import (
    GTAV,
    SYNTHIA,
    Experiment,
    Reading,
    gan_ce,
    gan_cl,
    gan_cl_cold,
    gan_cl_read,
    gan_with,
    rival,
    source_only,
)

NUMBERS = ('mIoU', 'gain', 'mIoU-2')
"""Columns of published numbers; mIoU-2 is the mean over the 13 classes of Tsai et al."""


@dataclass(frozen=True)
class Row:
    """A row of a table (a column of the paper's Tables 3 to 6, which lie on their side).

    Attributes:
        label (str): As in the paper.
        published (Mapping[str, float]): Column of :data:`NUMBERS` → the number printed in the paper, in percent.
        experiment (Experiment | None): What measures it; None for the competitors' own baselines.
        base (str): Segmentation network, in tables that give it.
        fixed (str): What is not varied, in tables that vary one thing after another.
    """

    label: str
    published: Mapping[str, float]
    experiment: Experiment | None = None
    base: str = ''
    fixed: str = ''


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        name (str): Such as ``'table3'``.
        title (str): What it shows.
        pair (str): Pair of data sets.
        rows (tuple[Row, ...]): The rows.
        baseline (Experiment): What gains are counted from.
        readings (tuple[str, ...]): Readings in which its experiments with a GAN are run.
        notes (tuple[str, ...]): Remarks on the published numbers.
    """

    name: str
    title: str
    pair: str
    rows: tuple[Row, ...]
    baseline: Experiment
    readings: tuple[Reading, ...] = ('paper',)
    notes: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """str: Number in the paper and title."""
        number = self.name.removeprefix('table')
        return f'Table {number}. {self.title}' if number.isdecimal() else self.title

    def measured_rows(self, readings: tuple[Reading, ...]) -> Iterator[tuple[Row, Reading | None, Experiment | None]]:
        """List what the measured table shows.

        Args:
            readings (tuple[str, ...]): Readings to show, of those that the table has.

        Yields:
            tuple[Row, str | None, Experiment | None]: Row of the paper; reading, None where there is only one; and
            experiment, None for the competitors' own baselines.
        """
        for row in self.rows:
            if len(self.readings) == 1 or row.experiment is None or not row.experiment.has_warm_start:
                yield row, None, row.experiment
                continue
            for reading in self.readings:
                if reading in readings:
                    yield row, reading, row.experiment.read(reading)

    def experiments(self, readings: tuple[Reading, ...]) -> list[Experiment]:
        """List what has to be trained for the table, each once.

        Args:
            readings (tuple[str, ...]): Readings to show.

        Returns:
            list[Experiment]: The baseline; GAN + CE, on which gradients are measured, where the table has two readings;
            and the rows.
        """
        wanted = [self.baseline]
        if len(self.readings) > 1:
            wanted.append(gan_ce(self.pair))
        wanted += [experiment for _, _, experiment in self.measured_rows(readings) if experiment is not None]
        return list({experiment.folder: experiment for experiment in wanted}.values())


def _numbers(miou: float | None = None, gain: float | None = None, miou_2: float | None = None) -> Mapping[str, float]:
    values = dict(zip(NUMBERS, (miou, gain, miou_2), strict=True))
    return MappingProxyType({name: value for name, value in values.items() if value is not None})


_READINGS: tuple[Reading, ...] = ('paper', 'equal-ratio')
_BACKBONES = (
    'Networks as the paper prints them. Its text says that CDA stands on FCN8s-VGG19 (§4.3). Tsai et al. is printed '
    "as FCN8s; that work's own VGG model is DeepLab-LargeFOV."
)
_MEASURED_RIVALS = (
    'All measured rows have the same FCN8s and the same schedule, and gains are counted from one NoAdapt: FCNWild is '
    'not measured on its DilatedNet, CDA not on its FCN8s-VGG19, Tsai et al. not on its DeepLab-LargeFOV. What else '
    'differs from these works: docs/methods.md.'
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            Table(
                'table1',
                'Adaptation from GTAV to Cityscapes',
                GTAV,
                (
                    Row('NoAdapt (Hoffman et al. 2016)', _numbers(21.1), base='DilatedNet'),
                    Row(
                        'FCNWild (Hoffman et al. 2016)',
                        _numbers(27.1, 6.0),
                        rival('fcns_in_the_wild'),
                        base='DilatedNet',
                    ),
                    Row('NoAdapt (Zhang et al. 2017)', _numbers(22.3), base='FCN8s'),
                    Row('CDA (Zhang et al. 2017)', _numbers(28.9, 6.6), rival('curriculum'), base='FCN8s'),
                    Row('Tsai et al. 2018', _numbers(35.0), rival('output_space'), base='FCN8s'),
                    Row('Ours-NoAdapt', _numbers(30.0), source_only(), base='FCN8s'),
                    Row('Ours', _numbers(38.1, 8.1), gan_cl(), base='FCN8s'),
                ),
                baseline=source_only(),
                notes=(_BACKBONES, _MEASURED_RIVALS),
            ),
            Table(
                'table2',
                'Adaptation from SYNTHIA to Cityscapes',
                SYNTHIA,
                (
                    Row('NoAdapt (Hoffman et al. 2016)', _numbers(17.4), base='DilatedNet'),
                    Row(
                        'FCNWild (Hoffman et al. 2016)',
                        _numbers(20.2, 2.8),
                        rival('fcns_in_the_wild', SYNTHIA),
                        base='DilatedNet',
                    ),
                    Row('NoAdapt (Zhang et al. 2017)', _numbers(22.0), base='FCN8s'),
                    Row('CDA (Zhang et al. 2017)', _numbers(29.0, 7.0), rival('curriculum', SYNTHIA), base='FCN8s'),
                    Row('Tsai et al. 2018', _numbers(miou_2=37.6), rival('output_space', SYNTHIA), base='FCN8s'),
                    Row('Ours-NoAdapt', _numbers(24.9), source_only(SYNTHIA), base='FCN8s'),
                    Row('Ours', _numbers(34.2, 9.3, 40.3), gan_cl(pair=SYNTHIA), base='FCN8s'),
                ),
                baseline=source_only(SYNTHIA),
                notes=(
                    _BACKBONES,
                    'mIoU is the mean over 16 classes, mIoU-2 over 13 of them (without wall, fence and pole), both '
                    'from one evaluation pass.',
                ),
            ),
            Table(
                'table3',
                'Components of the method',
                GTAV,
                (
                    Row('FCN8s+CE', _numbers(30.0), source_only()),
                    Row('FCN8s+GAN+CE', _numbers(34.4), gan_ce()),
                    Row('FCN8s+GAN+CL', _numbers(38.1), gan_cl()),
                ),
                baseline=source_only(),
                readings=_READINGS,
            ),
            Table(
                'table4',
                'a and λ of the Conservative Loss',
                GTAV,
                (
                    Row('a = 2', _numbers(37.5), gan_cl(base=2.0), fixed='λ = 5'),
                    Row('a = e', _numbers(38.1), gan_cl(base=math.e), fixed='λ = 5'),
                    Row('a = 3', _numbers(37.3), gan_cl(base=3.0), fixed='λ = 5'),
                    Row('a = 4', _numbers(36.8), gan_cl(base=4.0), fixed='λ = 5'),
                    Row('λ = 1', _numbers(37.2), gan_cl(weight=1.0), fixed='a = e'),
                    Row('λ = 5', _numbers(38.1), gan_cl(weight=5.0), fixed='a = e'),
                    Row('λ = 10', _numbers(37.9), gan_cl(weight=10.0), fixed='a = e'),
                    Row('λ = 20', _numbers(37.8), gan_cl(weight=20.0), fixed='a = e'),
                ),
                baseline=gan_ce(),
                readings=_READINGS,
                notes=(
                    'At an equal ratio λ is no variable: λ and the adversarial weight grow by one factor, which Adam '
                    'cancels. The four λ share their runs.',
                ),
            ),
            Table(
                'table5',
                'Cold start and warm start',
                GTAV,
                (
                    Row('CDA (Zhang et al. 2017)', _numbers(28.9)),
                    Row('CL with cold start', _numbers(35.2), gan_cl_cold()),
                    Row('CL with warm start', _numbers(38.1), gan_cl()),
                ),
                baseline=gan_cl_cold(),
                notes=('The cold start clamps CL to [-10, 10] before λ; after λ nothing would train.',),
            ),
            Table(
                'table6',
                'Other losses of the same kind',
                GTAV,
                (
                    Row('CE', _numbers(34.4), gan_ce()),
                    Row('FL', _numbers(35.8), gan_with('gan_focal')),
                    Row('Loss₁', _numbers(36.5), gan_with('gan_loss1')),
                    Row('Loss₂', _numbers(36.7), gan_with('gan_loss2')),
                    Row('Loss₃', _numbers(37.8), gan_with('gan_loss3')),
                    Row('CL', _numbers(38.1), gan_cl()),
                ),
                baseline=gan_ce(),
                readings=_READINGS,
                notes=("The weights of FL are the paper's; λ₁, λ₂, α and β are ours, see conservative_loss.md.",),
            ),
            Table(
                'gradients',
                'The gradient of the Conservative Loss, read in three ways (not in the paper)',
                GTAV,
                (
                    Row('literal: the equation', _numbers(38.1), gan_cl()),
                    Row('reversed: ascent above 1/a', _numbers(), gan_cl_read('reversed')),
                    Row('weighted: CL as a weight', _numbers(), gan_cl_read('weighted')),
                ),
                baseline=gan_ce(),
                readings=_READINGS,
                notes=(
                    "The paper does not say which gradient it trained with; its number stands beside the equation's. "
                    'The reversed gradient pulls every p_t to 1/a and needs a far lower learning rate than the others.',
                ),
            ),
        )
    }
)
"""Name → table."""

FIGURE_1 = (source_only(), gan_ce(), gan_cl())
"""Experiments whose scores on both domains Fig. 1 shows during training."""
