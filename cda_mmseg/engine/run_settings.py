"""Whether a resumed run's config asks for other rates, weight decay, schedules or length than the run began with.

A checkpoint holds rates and schedules as they stand, and mmengine puts them over those of the config. What the run
began with is therefore kept in the message hub, and so in every checkpoint, as plain data.
"""

import copy
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.runner import Runner

from cda_mmseg.engine.branching import fast_forward

_RECORD = 'run_settings'
# They change how fast an update is computed, or hold what is compared elsewhere.
_NO_SETTINGS = ('params', 'param_names', 'fused', 'foreach', 'capturable', 'differentiable')
# What a scheduler has reached, and what it takes from the optimizer.
_NO_SCHEDULE = ('base_values', 'last_step', 'optimizer', 'verbose')


class RunSettings:
    """Remember what the config asks for, before a checkpoint is laid over it.

    Args:
        runner (Runner): A run whose optimizers and schedules are built, and into which nothing is loaded yet.
    """

    def __init__(self, runner: Runner) -> None:
        self.record = describe_settings(runner)
        self._groups = {
            name: [
                {key: copy.deepcopy(value) for key, value in group.items() if key not in ('params', 'param_names')}
                for group in wrapper.param_groups
            ]
            for name, wrapper, _ in _players(runner)
        }
        self._schedulers = {
            name: [copy.deepcopy(scheduler.state_dict()) for scheduler in schedulers]
            for name, _, schedulers in _players(runner)
        }

    def take_over(self, runner: Runner) -> None:
        """Compare a resumed run with the config; where they differ, put the config in force and say so.

        Rates and schedules are then those of a run that had this config from its beginning. A checkpoint without a
        record, of an earlier version or of MMEngine's own hook, is compared with what it holds, and the config put in
        force in any case: where it is the former one, that changes nothing.

        Args:
            runner (Runner): The run, resumed.
        """
        saved = runner.message_hub.get_info(_RECORD)
        try:
            changes = _changes(saved or describe_settings(runner), self.record)
        except (IndexError, KeyError, TypeError, AttributeError):
            # no record of ours
            saved, changes = None, _changes(describe_settings(runner), self.record)
        if changes:
            runner.logger.warning(
                f'This run goes on at iteration {runner.iter} with other settings than it began with. Those of the '
                'config are in force:\n  ' + '\n  '.join(changes)
            )
        elif not saved:
            runner.logger.info(
                f'{runner._load_from} keeps no record of rates and schedules: those of the config are in force.'
            )
        if changes or not saved:
            self._put_in_force(runner)

    def keep(self, runner: Runner) -> None:
        """Enter the settings into the message hub, and so into the run's checkpoints."""
        runner.message_hub.update_info(_RECORD, self.record)

    def _put_in_force(self, runner: Runner) -> None:
        for name, wrapper, schedulers in _players(runner):
            for group, values in zip(wrapper.param_groups, self._groups[name], strict=True):
                _replace(group, values, keep=('params', 'param_names'))
            for scheduler, state in zip(schedulers, self._schedulers[name], strict=True):
                _replace(vars(scheduler), state, keep=('optimizer',))
            fast_forward(schedulers, runner.iter)


def _players(runner: Runner) -> Iterable[tuple[str, OptimWrapper, list[_ParamScheduler]]]:
    """Pair optimizers with their schedulers; a run with one optimizer has one without a player's name."""
    wrappers, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    if not isinstance(wrappers, OptimWrapperDict):
        return [('network', wrappers, schedulers)]
    return [
        (name, wrapper, schedulers.get(name, []) if isinstance(schedulers, dict) else [])
        for name, wrapper in wrappers.items()
    ]


def _replace(target: dict, values: dict, keep: tuple[str, ...]) -> None:
    for key in target.keys() - values.keys() - set(keep):
        del target[key]
    target.update(copy.deepcopy(values))


def describe_settings(runner: Runner) -> dict:
    """Write down the settings as plain data; neighbours among parameter groups that are alike are one."""
    players = {}
    for name, wrapper, schedulers in _players(runner):
        groups = []
        for settings, alike in groupby(wrapper.optimizer.param_groups, _settings_of_group):
            groups.append({'parameters': sum(len(group['params']) for group in alike), **settings})
        players[name] = dict(
            optimizer=type(wrapper.optimizer).__name__,
            groups=groups,
            schedule=[_settings_of_scheduler(scheduler) for scheduler in schedulers],
        )
    return dict(max_iters=runner.max_iters, players=players)


def _settings_of_group(group: dict) -> dict:
    # A scheduled value keeps what it began with under another name.
    return {
        key: _plain(group.get(f'initial_{key}', value))
        for key, value in group.items()
        if key not in _NO_SETTINGS and not key.startswith('initial_')
    }


def _settings_of_scheduler(scheduler: _ParamScheduler) -> dict:
    settings = {
        key: _plain(value)
        for key, value in sorted(vars(scheduler).items())
        if key not in _NO_SCHEDULE and not key.startswith('_')
    }
    return dict(type=type(scheduler).__name__, **settings)


def _plain(value: Any) -> Any:
    """Turn a setting into numbers, strings and lists."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Counter):
        return sorted(value.elements())
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return _plain(value.item()) if hasattr(value, 'item') else type(value).__name__


def _changes(old: dict, new: dict) -> list[str]:
    """List what two records differ in, a line each; what the older does not have is no difference."""
    lines = []
    if old['max_iters'] != new['max_iters']:
        lines.append(f'length: {old["max_iters"]} → {new["max_iters"]} iterations')
    for name, settings in new['players'].items():
        before = old['players'][name]
        if before['optimizer'] != settings['optimizer']:
            lines.append(f'{name}: optimizer {before["optimizer"]} → {settings["optimizer"]}')
        old_groups, groups = before['groups'], settings['groups']
        for key in sorted(groups[0].keys() & old_groups[0].keys() - {'parameters'}):
            was, now = ([(group[key], group['parameters']) for group in side] for side in (old_groups, groups))
            if _merged(was) != _merged(now):
                lines.append(f'{name}: {key} {_distinct(was)} → {_distinct(now)}')
        if before['schedule'] != settings['schedule']:
            was, now = (write_schedule(side['schedule']) for side in (before, settings))
            lines.append(f'{name}: schedule {was} → {now}')
    return lines


def _merged(values: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """Count neighbours of one value together."""
    return [(value, sum(count for _, count in alike)) for value, alike in groupby(values, itemgetter(0))]


def _distinct(values: list[tuple[Any, int]]) -> str:
    """Name the values that occur, in the order in which they do."""
    return ', '.join(dict.fromkeys(str(value) for value, _ in values))


def write_schedule(schedule: list[dict]) -> str:
    """Write schedules as a config would."""
    written = [
        f'{settings["type"]}({", ".join(f"{key}={value}" for key, value in settings.items() if key != "type")})'
        for settings in schedule
    ]
    return ' + '.join(written) or 'none'
