"""Last snapshots of many runs as a table: means over seeds, and differences paired by seed."""

import csv
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

Results = Mapping[str, Mapping[int, Mapping[str, Mapping]]]


def last_scores(results: Results, arm: str, score: str) -> dict[int, float]:
    """Return the last snapshot's score of each seed of an arm."""
    series = {seed: scores[score] for seed, scores in results.get(arm, {}).items() if score in scores}
    return {seed: values[max(values, key=int)] for seed, values in series.items()}


def paired_difference(one: Mapping[int, float], other: Mapping[int, float]) -> tuple[float, float, int]:
    """Compute the mean difference over common seeds, half of its 95 % interval (NaN for one seed), and their number."""
    differences = np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])
    if len(differences) == 0:
        return float('nan'), float('nan'), 0
    if len(differences) == 1:
        return float(differences[0]), float('nan'), 1
    quantile = stdtrit(len(differences) - 1, 0.975)  # of Student's t
    return (
        float(differences.mean()),
        float(quantile * differences.std(ddof=1) / len(differences) ** 0.5),
        len(differences),
    )


def score_table(results: Results, scores: Sequence[str], baseline: str, oracle: str | None = None) -> str:
    """Write a Markdown table of last snapshots.

    Args:
        results (Results): Arm → seed → score → iteration → value, as ``read_results`` gives it.
        scores (Sequence[str]): Columns; the first is the one of differences and gaps.
        baseline (str): Arm that the differences are to.
        oracle (str | None): Arm that a gap of 100 % is to.

    Returns:
        str: One row per arm: mean ± standard deviation over seeds of each score, the paired difference to the baseline
        with its 95 % interval, and the share of the gap between baseline and oracle that it closes.
    """
    headings = ['arm', 'seeds', *scores, f'{scores[0]} − {baseline}', *(['gap closed'] if oracle else [])]
    lines = [f'| {" | ".join(headings)} |', f'|{"---|" * len(headings)}']
    lowest = last_scores(results, baseline, scores[0])
    highest = last_scores(results, oracle, scores[0]) if oracle else {}
    for arm in results:
        columns = [last_scores(results, arm, score) for score in scores]
        difference, half, pairs = paired_difference(columns[0], lowest)
        row = [arm, str(len(columns[0])), *(write_mean(column) for column in columns)]
        if arm == baseline or not pairs:
            row.append('')
        else:
            row.append(f'{difference:+.2f}' + (f' ± {half:.2f}' if pairs > 1 else ''))
        if oracle:
            # Over the seeds that all three have.
            common = sorted(columns[0].keys() & lowest.keys() & highest.keys())
            gaps = [sum(side[seed] - lowest[seed] for seed in common) for side in (columns[0], highest)]
            row.append('' if arm in (baseline, oracle) or not gaps[1] else f'{gaps[0] / gaps[1]:.0%}')
        lines.append(f'| {" | ".join(row)} |')
    return '\n'.join(lines) + '\n'


def score_lines(results: Results) -> str:
    """Write every validation of every run as CSV: arm, seed, score, iteration, value."""
    rows = [
        f'{arm},{seed},{score},{iteration},{value!r}'
        for arm, seeds in results.items()
        for seed, scores in sorted(seeds.items())
        for score, values in scores.items()
        for iteration, value in values.items()
    ]
    return '\n'.join(['arm,seed,score,iteration,value', *rows]) + '\n'


def read_score_lines(text: str) -> Results:
    """Read what :func:`score_lines` wrote."""
    results: dict = {}
    for row in csv.DictReader(text.splitlines()):
        scores = results.setdefault(row['arm'], {}).setdefault(int(row['seed']), {})
        scores.setdefault(row['score'], {})[row['iteration']] = float(row['value'])
    return results


def write_mean(scores: Mapping[int, float]) -> str:
    """Write mean ± standard deviation over seeds; of one its score, of none nothing."""
    values = list(scores.values())
    if not values:
        return ''
    return f'{np.mean(values):.2f}' + (f' ± {np.std(values, ddof=1):.2f}' if len(values) > 1 else '')
