"""Plot what a number of labelled pictures of the target is worth."""

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from cda_mmseg.experiments.score_table import Results, last_scores
from cda_mmseg.visualization.figures import COLORS, GREY, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_label_counts(results: Results, score: str, levels: Sequence[str] | None = None) -> 'Figure':
    """Plot last snapshots over the number of labels: an arm ``NAME_N`` is a point of the curve NAME.

    Args:
        results (Results): Arm → seed → score → iteration → value.
        score (str): Which score.
        levels (Sequence[str] | None): Arms without a number, each a horizontal line; by default all.

    Returns:
        Figure: Means over seeds, with every seed as a dot.

    Raises:
        ValueError: If no arm is named ``NAME_N``, or a level is none of the other arms.
    """
    curves: dict[str, dict[int, list[float]]] = defaultdict(dict)
    others = {}
    for arm in results:
        values = list(last_scores(results, arm, score).values())
        if found := re.fullmatch(r'(.*)_(\d+)', arm):
            curves[found[1]][int(found[2])] = values
        else:
            others[arm] = values
    if not curves:
        raise ValueError(f'no arm is called NAME_NUMBER: {", ".join(results)}')
    if unknown := set(levels or ()) - set(others):
        raise ValueError(f'no arms without a number: {", ".join(sorted(unknown))}; there are {", ".join(others)}')
    counts = sorted({count for points in curves.values() for count in points})
    figure = new_figure(6.4, 3.8)
    from matplotlib import rc_context

    with rc_context(STYLE):
        axes = figure.add_subplot()
        for color, (name, points) in zip(cycle(COLORS), sorted(curves.items()), strict=False):
            own = sorted(points)
            places = [counts.index(count) for count in own]
            axes.plot(places, [np.mean(points[count]) for count in own], color=color, label=f'{_written(name)} N')
            for place, count in zip(places, own, strict=True):
                axes.plot([place] * len(points[count]), points[count], 'o', color=color, markersize=3)
        for style, name in zip(cycle(('--', ':', '-.')), others if levels is None else levels, strict=False):
            axes.axhline(np.mean(others[name]), color=GREY, linestyle=style, label=_written(name))
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.set_xlabel('labelled pictures of the target (N)')
        axes.set_ylabel(score)
        figure.legend(loc='outside right upper')
    return figure


def _written(arm: str) -> str:
    return arm.replace('_', ' ')
