"""Plot how scores and losses move during training."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import TYPE_CHECKING

from mmengine.config import Config
from scipy.ndimage import uniform_filter1d

from cda_mmseg.utils.progress import iteration_at
from cda_mmseg.visualization.figures import COLORS, STYLE, new_figure
from cda_mmseg.visualization.run_log import RunLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

DOMAINS = ('target', 'source')


def plot_domain_curves(
    runs: Sequence[RunLog], score: str = 'mIoU', warm_start_end: int | None = None, title: str | None = None
) -> 'Figure':
    """Plot a score on both domains over training (after Fig. 1 of the paper).

    A star marks the snapshot with the best target score, which only an oracle could choose, and the source score of
    that same snapshot; a square marks the last snapshot, which is the result of the run.

    Args:
        runs (Sequence[RunLog]): Runs to compare, one colour each.
        score (str): Name of the score without its domain.
        warm_start_end (int | None): Iteration at which the warm start ends, drawn as a vertical line.
        title (str | None): Title of the figure.

    Returns:
        Figure: Axes 0 is the target, axes 1 the source. The points of run i are the line labelled with its name.

    Raises:
        ValueError: If no run has logged the score on either domain.
        ImportError: If matplotlib is not installed.
    """
    if not any(f'{domain}/{score}' in run.validation for run in runs for domain in DOMAINS):
        raise ValueError(f'no run has logged target/{score} or source/{score}: {", ".join(run.name for run in runs)}')
    figure = new_figure(7.2, 3.4 + 0.17 * len(runs))
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    with rc_context(STYLE):
        panels = figure.subplots(1, 2, sharex=True)
        entries = []
        # Once the colours are used up, the next runs are dashed.
        for run, (style, color) in zip(runs, cycle(product(('-', '--', ':'), COLORS)), strict=False):
            oracle, last = run.best(f'target/{score}'), run.last(f'target/{score}')
            for panel, domain in zip(panels, DOMAINS, strict=True):
                series = run.validation.get(f'{domain}/{score}')
                if series is None:
                    continue
                panel.plot(
                    series.steps,
                    series.values,
                    style,
                    marker='o',
                    color=color,
                    markersize=2.5,
                    linewidth=1.2,
                    label=run.name,
                )
                chosen = run.at(f'{domain}/{score}', oracle.step) if oracle else None
                if chosen is not None:
                    panel.plot(oracle.step, chosen, '*', color=color, markersize=13, markeredgecolor='black')
                panel.plot(series.steps[-1], series.values[-1], 's', color=color, markersize=6, markeredgecolor='black')
            numbers = f': last {last.value:.1f}, oracle {oracle.value:.1f} at {oracle.step}' if last and oracle else ''
            entries.append(Line2D([], [], color=color, linestyle=style, linewidth=2, label=f'{run.name}{numbers}'))
        for panel, domain in zip(panels, DOMAINS, strict=True):
            panel.set(title=domain, xlabel='iteration', ylabel=f'{score} (%)')
            if not panel.has_data():
                panel.set_yticks([])
                panel.text(0.5, 0.5, 'no labels, no score', transform=panel.transAxes, ha='center', color='#666666')
            _draw_warm_start(panel, warm_start_end)
        marks = [_mark('s', 'last snapshot')]
        if any(run.best(f'target/{score}') for run in runs):
            marks.append(_mark('*', 'oracle: chosen by target labels'))
        if warm_start_end is not None:
            marks.append(Line2D([], [], color='#666666', linestyle='--', label='warm start ends'))
        figure.suptitle(title or f'{score} on both domains during training')
        figure.legend(handles=marks, loc='outside lower left')
        figure.legend(handles=entries, loc='outside lower right')
    return figure


def plot_training_curves(
    runs: Sequence[RunLog], warm_start_end: int | None = None, panels: Mapping[str, Sequence[str]] | None = None
) -> 'Figure':
    """Plot losses and the discriminator's accuracy over training.

    Args:
        runs (Sequence[RunLog]): Runs to compare.
        warm_start_end (int | None): Iteration at which the warm start ends, drawn as a vertical line.
        panels (Mapping[str, Sequence[str]] | None): Title → names of logged values. By default the accuracies of the
            discriminator share a panel, and the losses one for each prefix before the first dot.

    Returns:
        Figure: One axes per panel. Pale lines are the logged values, strong ones, labelled with run and name, their
        running means over a twentieth of the run.

    Raises:
        ValueError: If there is nothing to plot.
        ImportError: If matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.training))
    panels = panels if panels is not None else group_training_names(names)
    if not panels:
        raise ValueError(f'no loss and no discriminator accuracy among the logged values: {", ".join(names)}')
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    longest_legend = len(runs) * max(len(members) for members in panels.values())
    figure = new_figure(3.6 * columns, (2.6 + 0.14 * longest_legend) * rows)
    from matplotlib import rc_context

    with rc_context(STYLE):
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for panel, (title, members) in zip(grid, panels.items(), strict=False):
            colors = cycle(COLORS)
            for run in runs:
                for name in members:
                    series = run.training.get(name)
                    if series is None:
                        continue
                    color = next(colors)
                    label = name if len(runs) == 1 else f'{run.name}: {name}'
                    panel.plot(series.steps, series.values, color=color, linewidth=0.8, alpha=0.3)
                    smooth = uniform_filter1d(series.values, max(len(series.values) // 20, 1), mode='nearest')
                    panel.plot(series.steps, smooth, color=color, label=label)
            panel.set(title=title, xlabel='iteration')
            _draw_warm_start(panel, warm_start_end)
            if 'accuracy' in title:
                panel.axhline(0.5, color='#666666', linewidth=0.8, linestyle=':')
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
        dict[str, list[str]]: Title → names. Losses by the prefix before the first dot; the sum ``loss`` is left out
        where its terms are there; names with 'acc' and 'discriminator' in them under 'discriminator accuracy'.
    """
    panels: dict[str, list[str]] = {}
    losses = [name for name in names if 'loss' in name]
    for name in losses:
        prefix = name.split('.')[0]
        if name != 'loss' or len(losses) == 1:
            panels.setdefault(f'{prefix} losses' if '.' in name else 'losses', []).append(name)
    accuracies = [name for name in names if 'acc' in name and 'discriminator' in name]
    if accuracies:
        panels['discriminator accuracy'] = accuracies
    return panels


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


def _draw_warm_start(panel: 'Axes', warm_start_end: int | None) -> None:
    """Draw the end of the warm start."""
    if warm_start_end is not None:
        panel.axvline(warm_start_end, color='#666666', linewidth=1, linestyle='--')


def _mark(marker: str, label: str) -> 'Line2D':
    """Make the legend entry of a marker."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], linestyle='', marker=marker, markersize=10, color='white', markeredgecolor='black', label=label
    )
