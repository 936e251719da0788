"""The ratios of all benchmarks as bars."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from benchmarks.rows import Row, reaches
from cda_mmseg.visualization.figures import COLORS, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart by hatching where there is no colour.
LOOKS = {
    'all reached': dict(color=COLORS[0], hatch=''),
    'aim missed': dict(color=COLORS[5], hatch='//'),
    'must missed': dict(color=COLORS[1], hatch='xx'),
    'nothing asked': dict(color='#bbbbbb', hatch=''),
}


def judge(row: Row) -> str:
    """Name the look of a row's bar.

    Args:
        row (Row): The row.

    Returns:
        str: A key of ``LOOKS``.
    """
    if row['must'] is None and row['aim'] is None:
        return 'nothing asked'
    if reaches(row, 'must') is False:
        return 'must missed'
    return 'aim missed' if reaches(row, 'aim') is False else 'all reached'


def plot_rows(rows: Mapping[str, Sequence[Row]]) -> 'Figure':
    """Plot the ratio of every row, with what must be reached and what is aimed at.

    Args:
        rows (Mapping[str, Sequence[Row]]): Rows by benchmark.

    Returns:
        Figure: One bar per row, the first one on top, from 1 to the ratio on a logarithmic axis.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    every = [row for part in rows.values() for row in part]
    labels = [_label(row) for row in every]
    heights = [1 + 0.5 * label.count('\n') for label in labels]
    figure = new_figure(9, 1.4 + 0.24 * sum(heights))
    from matplotlib import rc_context
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.patheffects import Normal, Stroke
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    # Rows stand as far apart as their labels are high; `tops` is the upper edge of each.
    tops = [sum(heights[:index]) for index in range(len(every))]
    places = [top + height / 2 for top, height in zip(tops, heights, strict=True)]
    with rc_context({**STYLE, 'hatch.linewidth': 0.8}):
        panel = figure.subplots()
        panel.set_xscale('log')
        panel.set_axisbelow(True)
        for place, row in zip(places, every, strict=True):
            look = LOOKS[judge(row)]
            panel.barh(
                place,
                row['ratio'] - 1,
                left=1,
                height=0.66,
                color=look['color'],
                hatch=look['hatch'],
                edgecolor='white',
            )
            for bound, marker, size in (('must', '|', 17), ('aim', 'D', 5)):
                if row[bound] is not None:
                    panel.plot(
                        row[bound],
                        place,
                        marker,
                        color='black',
                        markersize=size,
                        markeredgewidth=1.6,
                        path_effects=[Stroke(linewidth=3.2, foreground='white'), Normal()],
                    )
            ends = [row['ratio'], *(row[bound] for bound in ('must', 'aim') if row[bound] is not None), 1]
            panel.annotate(
                f'{row["ratio"]:.2f}×' if row['ratio'] >= 0.1 else f'{row["ratio"]:.2g}×',
                (max(ends), place),
                xytext=(7, 0),
                textcoords='offset points',
                va='center',
                fontsize=8,
            )
        panel.axvline(1, color='black', linewidth=0.8)
        separators = [tops[len(part)] for part in _running_sums(rows) if 0 < len(part) < len(every)]
        for place in separators:
            panel.axhline(place, color='#666666', linewidth=0.6, linestyle=':')
        panel.set_yticks(places, labels, fontsize=8)
        panel.set_ylim(sum(heights), 0)
        panel.margins(x=0.12)
        panel.grid(visible=False, axis='y')
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}×'))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel('ours / theirs')
        used = [look for look in LOOKS if look in {judge(row) for row in every}]
        handles = [Patch(label=look, facecolor=LOOKS[look]['color'], hatch=LOOKS[look]['hatch']) for look in used]
        for patch in handles:
            patch.set_edgecolor('white')
        handles += [
            Line2D([], [], linestyle='', color='black', marker='|', markersize=13, markeredgewidth=1.6, label='must'),
            Line2D([], [], linestyle='', color='black', marker='D', markersize=5, label='aim'),
        ]
        figure.legend(handles=handles, loc='outside lower center', ncols=len(handles), fontsize=8)
    return figure


def _label(row: Row) -> str:
    direction = ' (more is better)' if row.get('bigger_is_better') else ''
    return fill(f'{row["name"]}{direction}', 58)


def _running_sums(rows: Mapping[str, Sequence[Row]]) -> list[list[Row]]:
    """List the rows up to the end of each benchmark."""
    sums: list[list[Row]] = [[]]
    for part in rows.values():
        sums.append([*sums[-1], *part])
    return sums
