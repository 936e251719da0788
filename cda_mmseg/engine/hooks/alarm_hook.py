"""Warn when adaptation looks like going wrong, without target labels."""

from collections import deque
from collections.abc import Iterator, Mapping

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from mmseg.registry import HOOKS

PRESENT, VANISHED = 0.02, 0.0005
"""Share from which a class counts as predicted on the source, and below which it has vanished from the target."""
RISE = 0.1
"""How much confidence and share distance must both have risen."""
BLIND, UNBEATABLE = (0.48, 0.52), 0.99
"""Accuracies of a discriminator that sees no difference, and of one that always does."""

LABELS, TARGET, CONFIDENCE = 'source.label_share', 'target.share', 'target.confidence'
"""Names in the log."""

Means = Mapping[str, float]


@HOOKS.register_module()
class AlarmHook(Hook):
    """Warn in log and terminal of what docs/when_it_helps.md explains.

    While training, what the segmentor logs is averaged over blocks of iterations, and the last two are looked at:

    * a discriminator is right almost always, or half of the time;
    * the classes' shares in the predictions on the target are further from those in the source's labels than
      ``share_distance``;
    * a class that is predicted on the source has not been predicted on the target for four blocks;
    * the confidence on the target has risen, from the two blocks before, and so has the distance of the shares.

    The last three wait until the predictions on the source have once been within ``share_distance``. Shares are
    looked at after each validation as well, against what is predicted on the source. An alarm is raised when it begins,
    not for as long as it lasts. What was averaged is not saved: a resumed run begins anew.

    Args:
        share_distance (float): Largest total-variation distance of class shares, in (0, 1). The domains may really
            differ: set it above what is known of them.
        block (int | None): Iterations in a block; a fortieth of the run, at least 50, by default.

    Raises:
        ValueError: If a value is out of its range.
    """

    def __init__(self, share_distance: float = 0.5, block: int | None = None) -> None:
        if not 0 < share_distance < 1:
            raise ValueError(f'AlarmHook.share_distance must be between 0 and 1, got {share_distance}.')
        if block is not None and block < 1:
            raise ValueError(f'AlarmHook.block must be at least 1, got {block}.')
        self.share_distance = share_distance
        self.block = block
        self._sums: dict[str, list[float]] = {}
        self._blocks: deque[Means] = deque(maxlen=4)
        self._has_learnt = False
        self._raised: dict[str, set[str]] = {'training': set(), 'validation': set()}

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict | None = None
    ) -> None:
        """Take in what was logged, and look at it when a block is full."""
        for name, value in (outputs or {}).items():
            if name.startswith(('source.', 'target.')) or name.endswith('.accuracy'):
                self._sums.setdefault(name, []).append(float(value))
        if (runner.iter + 1) % (self.block or max(50, runner.max_iters // 40)) == 0:
            self._blocks.append({name: float(np.mean(values)) for name, values in self._sums.items()})
            self._sums = {}
            self._warn(runner, 'training', dict(self._look()))

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Look at the shares of the classes in the validation."""
        shares = {name: value / 100 for name, value in (metrics or {}).items() if '/share.' in name}
        source, target = (_part(shares, f'{domain}/share.') for domain in ('source', 'target'))
        found = [*self._look_at_shares(source, target), *self._look_at_classes(source, target)]
        self._warn(runner, 'validation', dict(found))

    def _look(self) -> Iterator[tuple[str, str]]:
        """Yield kind and text of each alarm."""
        blocks = list(self._blocks)
        now, before = _joined(blocks[-2:]), _joined(blocks[:-2])
        for name in (name for name in now if name.endswith('.accuracy')):
            if now[name] > UNBEATABLE:
                yield name, f'{name} is {now[name]:.3f}: it is hardly ever wrong, and the network gets nothing by it'
            elif BLIND[0] < now[name] < BLIND[1]:
                yield name, f'{name} is {now[name]:.3f}: the discriminator is blind, and what it says is noise'
        labels, source, target = (_part(now, f'{name}.') for name in (LABELS, 'source.share', TARGET))
        # A new head begins with one class everywhere, on the source too.
        self._has_learnt |= bool(source) and _distance(source, labels) < self.share_distance
        if self._has_learnt:
            yield from self._look_at_shares(labels, target)
            # One batch may lack a class.
            everywhere = _joined(blocks) if len(blocks) == 4 else {}
            yield from self._look_at_classes(_part(everywhere, 'source.share.'), _part(everywhere, f'{TARGET}.'))
        if self._has_learnt and CONFIDENCE in now and CONFIDENCE in before:
            surer, moved = now[CONFIDENCE] - before[CONFIDENCE], _drift(now) - _drift(before)
            if min(surer, moved) >= RISE:
                yield (
                    'confidence',
                    f'the mean confidence on the target has risen by {surer:.2f} to {now[CONFIDENCE]:.2f}, and the '
                    f"distance of its class shares from the source's by {moved:.2f}",
                )

    def _look_at_shares(self, reference: Means, target: Means) -> Iterator[tuple[str, str]]:
        if target and reference and (distance := _distance(target, reference)) > self.share_distance:
            most = max(target, key=lambda name: target[name] - reference.get(name, 0))
            yield (
                'shares',
                f"the class shares predicted on the target are {distance:.0%} away from the source's (limit "
                f'{self.share_distance:.0%}): {most} has {target[most]:.0%} instead of {reference.get(most, 0):.0%}',
            )

    @staticmethod
    def _look_at_classes(source: Means, target: Means) -> Iterator[tuple[str, str]]:
        for name in target:
            if source.get(name, 0) >= PRESENT and target[name] < VANISHED:
                yield (
                    f'vanished {name}',
                    f'{name} is predicted on {source[name]:.1%} of the source and on {target[name]:.2%} of the target',
                )

    def _warn(self, runner: Runner, where: str, alarms: Mapping[str, str]) -> None:
        for kind in (kind for kind in alarms if kind not in self._raised[where]):
            runner.logger.warning(
                f'ALARM in the {where} at iteration {runner.iter + (where == "training")}: {alarms[kind]}. What it may '
                'mean and what to turn: docs/when_it_helps.md.'
            )
        self._raised[where] = set(alarms)


def _part(values: Means, prefix: str) -> Means:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _joined(blocks: list[Means]) -> Means:
    """Average several blocks, over what all have; one alone says nothing."""
    if len(blocks) < 2:
        return {}
    names = [name for name in blocks[0] if all(name in block for block in blocks)]
    return {name: float(np.mean([block[name] for block in blocks])) for name in names}


def _drift(means: Means) -> float:
    return _distance(_part(means, f'{TARGET}.'), _part(means, f'{LABELS}.'))


def _distance(one: Means, other: Means) -> float:
    return sum(abs(one[name] - other[name]) for name in one.keys() & other.keys()) / 2
