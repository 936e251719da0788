"""Choose among the snapshots of runs without target labels, and say what each way of choosing is worth."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from cda_mmseg.engine.checkpointing.fitting import load_trained_weights
from cda_mmseg.engine.checkpointing.resume_point import checkpoint_names
from cda_mmseg.evaluation import label_free
from cda_mmseg.evaluation.pixel_probabilities import PixelProbabilities

SCORES = {
    'entropy': -1,
    'information': 1,
    'neighbourhood density': 1,
    'ensemble agreement': 1,
    'share drift': -1,
}
"""Score → 1 if high is better, -1 if low is."""

LABELLED = 'target/mIoU'
LAST = 'last snapshot'
NOTE = (
    '\nNo score but the mIoU has seen a label of the target. Entropy and neighbourhood density are at their best where '
    'one class is left; information takes all classes for equally frequent, share drift the two domains for alike.\n'
)


@dataclass(frozen=True)
class Snapshot:
    """One checkpoint of a run.

    Attributes:
        run: Name of the run.
        iteration: Iterations trained.
        path: The checkpoint.
    """

    run: str
    iteration: int
    path: Path

    def __str__(self) -> str:
        return f'{self.run} {self.iteration}'


Scored = dict[Snapshot, dict[str, float]]
"""Snapshot → score → value, as a fraction; the mIoU in percent."""


def find_snapshots(work_dirs: Sequence[str | Path]) -> list[Snapshot]:
    """List the checkpoints of runs, each run's in the order of training.

    Raises:
        FileNotFoundError: If a folder has none.
    """
    folders = [Path(folder).resolve() for folder in dict.fromkeys(work_dirs)]
    above = Path(os.path.commonpath(folders)) if len(folders) > 1 else folders[0].parent
    found = []
    for folder in folders:
        names = checkpoint_names(str(folder))
        if not names:
            raise FileNotFoundError(f'{folder} holds no checkpoint iter_….pth.')
        iterations = {int(name.removeprefix('iter_').removesuffix('.pth')): name for name in names}
        run = str(folder.relative_to(above))
        found += [Snapshot(run, iteration, folder / name) for iteration, name in sorted(iterations.items())]
    return found


def collect_probabilities(config: Config) -> None:
    """Let a config's test keep what the scores need."""
    evaluators = config.test_evaluator if isinstance(config.test_evaluator, list) else [config.test_evaluator]
    config.test_evaluator = [*evaluators, dict(type='PixelProbabilities')]


def score_snapshots(runner: Runner, snapshots: Sequence[Snapshot], report: Callable[[str], None]) -> Scored:
    """Predict the test images with every snapshot, and score the predictions without labels.

    Args:
        runner: Of a config that :func:`collect_probabilities` was given.
        snapshots: All of one network.
        report: Called with a line per snapshot.

    Returns:
        Scored: Also the mIoU, where the target has labels.

    Raises:
        ValueError: If there is no image of the target.
    """
    scored: Scored = {}
    predicted, total, classes = {}, 0.0, 0
    for snapshot in snapshots:
        load_trained_weights(runner.model, str(snapshot.path))
        metrics = runner.test()
        found = next(one for one in runner.test_loop.evaluator.metrics if isinstance(one, PixelProbabilities)).found
        if 'target' not in found:
            raise ValueError(
                f'test_dataloader has no image of the target, only of {list(found)}: nothing to choose by.'
            )
        target, classes = found['target'], found['target'].shape[1]
        predicted[snapshot] = target.argmax(1).to(torch.uint8)
        total = total + target
        shares = {role: label_free.class_shares(rows.argmax(1), classes) for role, rows in found.items()}
        scored[snapshot] = {
            'entropy': label_free.entropy(target),
            'information': label_free.information(target),
            'neighbourhood density': label_free.neighbourhood_density(target),
        }
        if 'source' in shares:
            scored[snapshot]['share drift'] = label_free.share_drift(shares['target'], shares['source'])
        if not math.isnan(metrics.get(LABELLED, math.nan)):
            scored[snapshot][LABELLED] = metrics[LABELLED]
        report(f'{snapshot}: ' + ', '.join(f'{name} {value:.3f}' for name, value in scored[snapshot].items()))
    agreed = total.argmax(1)
    for snapshot, ids in predicted.items():
        scored[snapshot]['ensemble agreement'] = label_free.agreement(ids, agreed, classes)
    return scored


def choice_table(scored: Scored) -> str:
    """Write two Markdown tables: what each score chooses, and all scores.

    With labels the first also says each score's rank correlation with the target's mIoU, over all snapshots and over
    the runs' last ones, and its regret: how much less the chosen snapshot has than the best, over all snapshots, and as
    the mean over runs of choosing within the run. The line of the last snapshot is that of a run drawn blindly.
    """
    names = [name for name in SCORES if all(name in values for values in scored.values())]
    labelled = all(LABELLED in values for values in scored.values())
    runs: dict[str, list[Snapshot]] = {}
    for snapshot in scored:
        runs.setdefault(snapshot.run, []).append(snapshot)
    last = [max(members, key=lambda one: one.iteration) for members in runs.values()]

    def choose(name: str, among: Sequence[Snapshot]) -> Snapshot:
        return max(among, key=lambda one: (SCORES[name] * scored[one][name], one.iteration))

    def regret(chosen: Sequence[Snapshot], among: Sequence[Snapshot]) -> float:
        best = max(scored[one][LABELLED] for one in among)
        return best - float(np.mean([scored[one][LABELLED] for one in chosen]))

    def correlation(name: str, among: Sequence[Snapshot]) -> str:
        values = [SCORES[name] * scored[one][name] for one in among]
        found = rank_correlation(values, [scored[one][LABELLED] for one in among])
        return '–' if math.isnan(found) else f'{found:+.2f}'

    headings = ['score', 'better', 'chosen']
    if labelled:
        headings += ['mIoU', f'rank correlation ({len(scored)})', f'of last ones ({len(last)})']
        headings += ['regret', f'regret within a run ({len(runs)})']
    rows = []
    for name in names:
        chosen = choose(name, list(scored))
        rows.append([name, 'high' if SCORES[name] > 0 else 'low', str(chosen)])
        if labelled:
            within = np.mean([regret([choose(name, members)], members) for members in runs.values()])
            rows[-1] += [f'{scored[chosen][LABELLED]:.2f}', correlation(name, list(scored)), correlation(name, last)]
            rows[-1] += [f'{regret([chosen], list(scored)):.2f}', f'{within:.2f}']
    if labelled:
        within = np.mean([regret([one], runs[one.run]) for one in last])
        mean = np.mean([scored[one][LABELLED] for one in last])
        rows.append(
            [LAST, '', 'of each run', f'{mean:.2f}', '', '', f'{regret(last, list(scored)):.2f}', f'{within:.2f}']
        )
    columns = [*names, LABELLED] if labelled else names
    every = [
        [
            one.run,
            str(one.iteration),
            *(f'{values[name]:.2f}' if name == LABELLED else f'{values[name]:.3f}' for name in columns),
        ]
        for one, values in scored.items()
    ]
    return _markdown(headings, rows) + NOTE + '\n' + _markdown(['run', 'iteration', *columns], every)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Compute Spearman's rank correlation, equal values having their mean rank; NaN where all are equal."""
    ranks = []
    for values in (one, other):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[inverse])
    if any(np.ptp(of) == 0 for of in ranks):
        return math.nan
    return float(np.corrcoef(ranks)[0, 1])


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)
