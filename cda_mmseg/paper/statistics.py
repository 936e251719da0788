"""Summarise scores over seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MISSING = '–'


@dataclass(frozen=True)
class Summary:
    """Scores of one experiment over its seeds.

    Attributes:
        count (int): Number of seeds.
        mean (float): Mean; NaN without seeds.
        deviation (float): Sample standard deviation, divisor count - 1; NaN below two seeds.
    """

    count: int
    mean: float
    deviation: float

    def __str__(self) -> str:
        return self._format('.2f')

    def signed(self) -> str:
        """Format the mean with its sign.

        Returns:
            str: Such as '+1.20 ± 0.31'.
        """
        return self._format('+.2f')

    def _format(self, spec: str) -> str:
        if not self.count or math.isnan(self.mean):
            return MISSING
        deviation = f' ± {self.deviation:.2f}' if self.count > 1 else ''
        return f'{self.mean:{spec}}{deviation}'


def summarize(scores: Mapping[int, float]) -> Summary:
    """Summarise scores.

    Args:
        scores (Mapping[int, float]): Seed → score.

    Returns:
        Summary: Mean and deviation.
    """
    values = np.array(list(scores.values()), dtype=np.float64)
    return Summary(
        len(values),
        float(values.mean()) if len(values) else math.nan,
        float(values.std(ddof=1)) if len(values) > 1 else math.nan,
    )


def gains(scores: Mapping[int, float], baseline: Mapping[int, float]) -> dict[int, float]:
    """Subtract a baseline seed by seed.

    Args:
        scores (Mapping[int, float]): Seed → score.
        baseline (Mapping[int, float]): Seed → score of the baseline.

    Returns:
        dict[int, float]: Seed → difference, of the seeds that both have.
    """
    return {seed: score - baseline[seed] for seed, score in scores.items() if seed in baseline}
