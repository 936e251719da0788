"""Runs that differ in their seeds alone, and what they say together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cda_mmseg.evaluation.domain_iou import RESERVED_NAMES
from cda_mmseg.experiments.score_table import paired_difference, write_mean
from cda_mmseg.report.run import Run
from cda_mmseg.utils.arguments import UsageError

HEADLINE = 'target/mIoU'


@dataclass(frozen=True)
class Arm:
    """Runs of one name.

    Attributes:
        name: Their name.
        runs: One or several, of different seeds.
    """

    name: str
    runs: tuple[Run, ...]

    def last(self, score: str) -> dict[int | None, float]:
        """Return the last snapshot's score of each seed that has one."""
        return _finite({run.seed: run.log.last(score) for run in self.runs})

    def best(self, score: str) -> dict[int | None, float]:
        """Return the best snapshot's score of each seed that has one: an oracle for scores of the target."""
        return _finite({run.seed: run.log.best(score) for run in self.runs})


def group_runs(runs: Sequence[Run]) -> list[Arm]:
    """Put runs of one name together.

    Raises:
        UsageError: If two have one name and one seed.
    """
    arms: dict[str, list[Run]] = {}
    for run in runs:
        alike = arms.setdefault(run.name, [])
        if other := next((one for one in alike if one.seed == run.seed), None):
            raise UsageError(
                f'{other.work_dir} and {run.work_dir} are both called {run.name!r}, and both have the seed {run.seed}: '
                f'give one a name of its own, NAME={run.work_dir}.'
            )
        alike.append(run)
    return [Arm(name, tuple(members)) for name, members in arms.items()]


def verdict(arms: Sequence[Arm]) -> str:
    """Say in a sentence or two what came out, on the last snapshots."""
    baseline, *others = arms
    known = baseline.last(HEADLINE)
    if not any(arm.last(HEADLINE) for arm in arms):
        source = [f'{arm.name} {write_mean(arm.last("source/mIoU"))}' for arm in arms if arm.last('source/mIoU')]
        scored = f' Source mIoU{source_note(arms, ", {}")}: {", ".join(source)}.' if source else ''
        return (
            f'The target was not scored, so that nothing can be said of adaptation.{scored}{_describe_unfinished(arms)}'
        )
    parts = [f'{baseline.name} {write_mean(known) or "not scored"}']
    for arm in others:
        scores = arm.last(HEADLINE)
        difference = write_difference(scores, known)
        parts.append(f'{arm.name} {write_mean(scores) or "not scored"}' + (f' ({difference})' if difference else ''))
    text = f'Target mIoU of the last snapshots: {", ".join(parts)}.'
    if max(len(arm.runs) for arm in arms) == 1:
        text += ' One seed proves nothing.'
    return text + _describe_unfinished(arms)


def _describe_unfinished(arms: Sequence[Arm]) -> str:
    unfinished = [run.title for arm in arms for run in arm.runs if not run.is_finished]
    return f' Unfinished: {"; ".join(unfinished)}.' if unfinished else ''


def write_difference(scores: dict, baseline: dict) -> str:
    """Write a mean difference paired by seed, with its 95 % interval; nothing without common seeds."""
    difference, half, pairs = paired_difference(scores, baseline)
    if not pairs:
        return ''
    return f'{difference:+.2f}' + (f' ± {half:.2f}, {pairs} pairs' if pairs > 1 else '')


def source_note(arms: Sequence[Arm], form: str = '{}') -> str:
    """Write the remark on the source's images into a form; nothing if there is none."""
    notes = dict.fromkeys(run.source_note for arm in arms for run in arm.runs if run.source_note)
    return form.format('; '.join(notes)) if notes else ''


def score_names(arms: Sequence[Arm]) -> list[str]:
    """List the scores of a table's columns: mIoU of all domains, means over class lists, two without labels."""
    logged = list(dict.fromkeys(name for arm in arms for run in arm.runs for name in run.log.validation))
    names = [HEADLINE, 'source/mIoU']
    names += [name for name in logged if name.endswith('/mIoU')]
    names += [name for name in logged if name.partition('/')[2] not in RESERVED_NAMES and '.' not in name]
    names += [name for name in ('target/share_distance', 'target/entropy') if name in logged]
    return [name for name in dict.fromkeys(names) if name in logged and '/' in name]


def class_names(arms: Sequence[Arm], domain: str) -> list[str]:
    """List the classes that have an IoU on a domain."""
    prefix = f'{domain}/IoU.'
    logged = (name for arm in arms for run in arm.runs for name in run.log.validation if name.startswith(prefix))
    return list(dict.fromkeys(name.removeprefix(prefix) for name in logged))


def mean(scores: dict) -> float:
    """Average over seeds; NaN over none."""
    return float(np.mean(list(scores.values()))) if scores else math.nan


def _finite(points: dict) -> dict:
    return {seed: point.value for seed, point in points.items() if point is not None and math.isfinite(point.value)}
