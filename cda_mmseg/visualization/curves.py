"""Plot how scores and losses move during training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, product
from typing import TYPE_CHECKING

import numpy as np
from mmengine.config import Config
from scipy.ndimage import uniform_filter1d

from cda_mmseg.utils.progress import iteration_at
from cda_mmseg.visualization.figures import COLORS, GREY, STYLE, new_figure
from cda_mmseg.visualization.run_log import RunLog, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

DOMAINS = ('target', 'source')
CHANCE = {'discriminator losses': (4 * math.log(2), '4 ln 2'), 'discriminator accuracy': (0.5, '.5')}
"""Title of a panel → what a discriminator has that cannot tell: its vanilla GAN loss has four terms, each ln 2."""


def plot_domain_curves(
    runs: Sequence[RunLog],
    score: str = 'mIoU',
    warm_start_end: int | None = None,
    title: str | None = None,
    source_note: str = '',
) -> 'Figure':
    """Plot a score on both domains over training (after Fig. 1 of the paper).

    A star marks the snapshot with the best target score, which only an oracle could choose, and the source score of
    that same snapshot; a square marks the last snapshot, which is the result of the run.

    Args:
        runs (Sequence[RunLog]): Runs to compare; those of one name, such as seeds, have one colour.
        score (str): Name of the score without its domain.
        warm_start_end (int | None): Iteration at which the warm start ends, drawn as a vertical line.
        title (str | None): Title of the figure.
        source_note (str): Remark on the source's images, such as 'seen in training'.

    Returns:
        Figure: Axes 0 is the target, axes 1 the source. The points of run i are the line labelled with its name.

    Raises:
        ValueError: If no run has logged the score on either domain.
    """
    if not any(f'{domain}/{score}' in run.validation for run in runs for domain in DOMAINS):
        raise ValueError(f'no run has logged target/{score} or source/{score}: {", ".join(run.name for run in runs)}')
    groups = _by_name(runs)
    figure = new_figure(7.2, 3.4 + 0.17 * len(groups))
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    with rc_context(STYLE):
        panels = figure.subplots(1, 2, sharex=True)
        entries = []
        # Once the colours are used up, the next runs are dashed.
        for (name, members), (style, color) in zip(
            groups.items(), cycle(product(('-', '--', ':'), COLORS)), strict=False
        ):
            for run in members:
                _draw_scores(panels, run, score, style, color)
            entries.append(
                Line2D([], [], color=color, linestyle=style, linewidth=2, label=f'{name}{_numbers(members, score)}')
            )
        for panel, domain in zip(panels, DOMAINS, strict=True):
            note = f' ({source_note})' if source_note and domain == 'source' else ''
            panel.set(title=f'{domain}{note}', xlabel='iteration', ylabel=f'{score} (%)')
            if not panel.has_data():
                panel.set_yticks([])
                panel.text(0.5, 0.5, 'no labels, no score', transform=panel.transAxes, ha='center', color=GREY)
            _draw_warm_start(panel, warm_start_end)
        marks = [_mark('s', 'last snapshot')]
        if any(run.best(f'target/{score}') for run in runs):
            marks.append(_mark('*', 'oracle: chosen by target labels'))
        if warm_start_end is not None:
            marks.append(Line2D([], [], color=GREY, linestyle='--', label='warm start ends'))
        figure.suptitle(title or f'{score} on both domains during training')
        figure.legend(handles=marks, loc='outside lower left')
        figure.legend(handles=entries, loc='outside lower right')
    return figure


def plot_training_curves(
    runs: Sequence[RunLog],
    warm_start_end: int | None = None,
    chance: Mapping[str, tuple[float, str]] = CHANCE,
) -> 'Figure':
    """Plot losses and the discriminator's accuracy over training.

    Args:
        runs (Sequence[RunLog]): Runs to compare; those of one name have one colour.
        warm_start_end (int | None): Iteration at which the warm start ends, drawn as a vertical line.
        chance (Mapping[str, tuple[float, str]]): Title of a panel → level to draw, and how it is written.

    Returns:
        Figure: One axes per panel of :func:`group_training_names`. Pale lines are the logged values, strong ones,
        labelled with run and name, their running means over a twentieth of the run.

    Raises:
        ValueError: If there is nothing to plot.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.training))
    panels = group_training_names(names)
    if not panels:
        raise ValueError(f'no loss and no discriminator accuracy among the logged values: {", ".join(names)}')
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    groups = _by_name(runs)
    longest_legend = len(groups) * max(len(members) for members in panels.values())
    figure = new_figure(3.6 * columns, (2.6 + 0.14 * longest_legend) * rows)
    from matplotlib import rc_context

    with rc_context(STYLE):
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for panel, (title, members) in zip(grid, panels.items(), strict=False):
            colors = cycle(COLORS)
            for own, (run_name, alike) in zip(cycle(COLORS), groups.items(), strict=False):
                for name in members:
                    drawn = [run.training[name] for run in alike if name in run.training]
                    # of a panel's only value each run has the colour of the scores
                    color = own if len(members) == 1 else next(colors) if drawn else None
                    for number, series in enumerate(drawn):
                        finite = np.isfinite(series.values)
                        steps, values = series.steps[finite], series.values[finite]
                        panel.plot(series.steps, series.values, color=color, linewidth=0.8, alpha=0.3)
                        smooth = uniform_filter1d(values, max(len(values) // 20, 1), mode='nearest')
                        label = None if number else f'{run_name}: {name}'
                        panel.plot(steps, smooth, color=color, label=label)
            panel.set(title=title, xlabel='iteration')
            _draw_warm_start(panel, warm_start_end)
            if title in chance:
                level, written = chance[title]
                panel.axhline(level, color=GREY, linewidth=0.8, linestyle=':', label=f'chance: {written}')
            if 'accuracy' in title:
                panel.set_ylim(0, 1)
            # Below the axes, where it covers no line.
            panel.legend(fontsize=7, loc='upper left', bbox_to_anchor=(-0.05, -0.2))
        for panel in grid[len(panels) :]:
            panel.set_axis_off()
    return figure


def group_training_names(names: Sequence[str]) -> dict[str, list[str]]:
    """Sort the names of logged values into panels.

    Args:
        names (Sequence[str]): Names as they are logged, such as ``decode.loss_ce``.

    Returns:
        dict[str, list[str]]: Title → names. Losses by the prefix before the first dot, those that :func:`split_losses`
        has named by their own name; the sum ``loss`` is left out where its terms are there; names with 'acc' and
        'discriminator' in them under 'discriminator accuracy'.
    """
    panels: dict[str, list[str]] = {}
    losses = [name for name in names if 'loss' in name.lower()]
    for name in losses:
        prefix, _, kind = name.partition('.')
        if name != 'loss' or len(losses) == 1:
            own = f'{prefix}, {kind}' if 'Loss' in kind else f'{prefix} losses'
            panels.setdefault(own if kind else 'losses', []).append(name)
    accuracies = [name for name in names if 'acc' in name and 'discriminator' in name]
    if accuracies:
        panels['discriminator accuracy'] = accuracies
    return panels


def split_losses(run: RunLog, config: Config) -> RunLog:
    """Rename the decode head's loss after its types, one before and another after the end of a warm start.

    Cross entropy and the Conservative Loss, which falls below 0, have nothing to do on one axis.

    Args:
        run (RunLog): The run.
        config (Config): Its config.

    Returns:
        RunLog: The run with names such as ``decode.ConservativeLoss``; as it is if the head has several losses.
    """
    loss = config.model.decode_head.get('loss_decode')
    name = next((name for name in run.training if name.startswith('decode.') and 'loss' in name), None)
    if not isinstance(loss, Mapping) or name is None:
        return run
    series, end = run.training[name], find_warm_start_end(config)
    parts = {loss['type']: slice(None)}
    if loss['type'] == 'WarmStartLoss':
        # What is logged at iteration n is the mean of iterations up to n.
        border = int(np.searchsorted(series.steps, end, side='right'))
        parts = {loss['warm']['type']: slice(border), loss['main']['type']: slice(border, None)}
    split = {
        f'decode.{kind}': Series(series.steps[part], series.values[part])
        for kind, part in parts.items()
        if len(series.steps[part])
    }
    return replace(run, training=split | {key: value for key, value in run.training.items() if key != name})


def find_warm_start_end(config: Config) -> int | None:
    """Work out from a run's config when its warm start ends.

    Args:
        config (Config): The config, as dumped into the ``work_dir``.

    Returns:
        int | None: The first iteration of the main loss; None if no ``WarmStartLoss`` is in the config.
    """
    stack = [config.model.to_dict()]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            if item.get('type') == 'WarmStartLoss':
                return iteration_at(item.get('warm_fraction', 0.5), config.train_cfg.max_iters)
            stack.extend(item.values())
        elif isinstance(item, Sequence) and not isinstance(item, str):
            stack.extend(item)
    return None


def _by_name(runs: Sequence[RunLog]) -> dict[str, list[RunLog]]:
    groups: dict[str, list[RunLog]] = {}
    for run in runs:
        groups.setdefault(run.name, []).append(run)
    return groups


def _draw_scores(panels: Sequence['Axes'], run: RunLog, score: str, style: str, color: str) -> None:
    """Draw a run's score on both domains, with the marks of oracle and last snapshot."""
    oracle = run.best(f'target/{score}')
    for panel, domain in zip(panels, DOMAINS, strict=True):
        series = run.validation.get(f'{domain}/{score}')
        if series is None:
            continue
        panel.plot(
            series.steps, series.values, style, marker='o', color=color, markersize=2.5, linewidth=1.2, label=run.name
        )
        chosen = run.at(f'{domain}/{score}', oracle.step) if oracle else None
        if chosen is not None:
            panel.plot(oracle.step, chosen, '*', color=color, markersize=13, markeredgecolor='black')
        panel.plot(series.steps[-1], series.values[-1], 's', color=color, markersize=6, markeredgecolor='black')


def _numbers(runs: Sequence[RunLog], score: str) -> str:
    """Write the last and the oracle's target score, of several runs their means and standard deviations."""
    ends = [(run.last(f'target/{score}'), run.best(f'target/{score}')) for run in runs]
    ends = [(last, oracle) for last, oracle in ends if last and oracle]
    if not ends:
        return ''
    if len(ends) == 1:
        ((last, oracle),) = ends
        return f': last {last.value:.1f}, oracle {oracle.value:.1f} at {oracle.step}'
    last, oracle = ([point.value for point in points] for points in zip(*ends, strict=True))
    written = (f'{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}' for values in (last, oracle))
    return ': last {}, oracle {} ({} runs)'.format(*written, len(ends))


def _draw_warm_start(panel: 'Axes', warm_start_end: int | None) -> None:
    """Draw the end of the warm start."""
    if warm_start_end is not None:
        panel.axvline(warm_start_end, color=GREY, linewidth=1, linestyle='--')


def _mark(marker: str, label: str) -> 'Line2D':
    """Make the legend entry of a marker."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], linestyle='', marker=marker, markersize=10, color='white', markeredgecolor='black', label=label
    )
