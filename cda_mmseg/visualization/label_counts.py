"""Plot what a number of labelled pictures of the target is worth."""

import csv
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cda_mmseg.visualization.figures import COLORS, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def read_last_scores(path: Path, score: str) -> dict[str, list[float]]:
    """Read the last snapshot's score of every run from a ``scores.csv`` of ``tools/sweep.py``: arm → one per seed.

    Raises:
        ValueError: If no run has the score; the message names the file and the scores that are there.
    """
    last: dict[tuple[str, str], tuple[int, float]] = {}
    with open(path, newline='') as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row['score'] == score:
            point = (int(row['iteration']), float(row['value']))
            last[row['arm'], row['seed']] = max(point, last.get((row['arm'], row['seed']), point))
    if not last:
        raise ValueError(f'{path} has no {score!r}, only {", ".join(sorted({row["score"] for row in rows}))}.')
    arms = defaultdict(list)
    for (arm, _), (_, value) in last.items():
        arms[arm].append(value)
    return dict(arms)


def plot_label_counts(scores: dict[str, list[float]], score: str) -> 'Figure':
    """Plot scores over the number of labels: an arm ``NAME_N`` is a point of the curve NAME, any other one a line.

    Args:
        scores (dict[str, list[float]]): Arm → its score for each seed.
        score (str): What it is called.

    Returns:
        Figure: Means over seeds, with every seed as a dot.

    Raises:
        ValueError: If no arm is named ``NAME_N``.
    """
    curves, levels = defaultdict(dict), {}
    for arm, values in scores.items():
        if found := re.fullmatch(r'(.*)_(\d+)', arm):
            curves[found[1]][int(found[2])] = values
        else:
            levels[arm] = values
    if not curves:
        raise ValueError(f'no arm is called NAME_NUMBER: {", ".join(scores)}')
    counts = sorted({count for points in curves.values() for count in points})
    figure = new_figure(6.4, 3.8)
    from matplotlib import rc_context

    with rc_context(STYLE):
        axes = figure.add_subplot()
        for color, (name, points) in zip(COLORS, sorted(curves.items()), strict=False):
            places = [counts.index(count) for count in sorted(points)]
            means = [np.mean(points[count]) for count in sorted(points)]
            axes.plot(places, means, color=color, label=f'{name.replace("_", " ")} N')
            for place, count in zip(places, sorted(points), strict=True):
                axes.plot([place] * len(points[count]), points[count], 'o', color=color, markersize=3)
        for style, (name, values) in zip(('--', ':', '-.'), levels.items(), strict=False):
            axes.axhline(np.mean(values), color='#555555', linestyle=style, label=name.replace('_', ' '))
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.set_xlabel('labelled pictures of the target (N)')
        axes.set_ylabel(score)
        figure.legend(loc='outside right upper')
    return figure
