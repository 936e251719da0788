"""What is in force in a run: told at its start, and refused or named where the config asks for something else."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.optim import _ParamScheduler
from mmengine.runner import Runner
from mmseg.engine import SegVisualizationHook
from torch import nn

from cda_mmseg.datasets.pipelines import LABEL_LOADERS, domains_of, single_data_sets, steps_of
from cda_mmseg.datasets.transforms import LoadLabelIds
from cda_mmseg.datasets.transforms.tag_domain import role_of
from cda_mmseg.engine.hooks import BoundedHistoryHook, StopHook
from cda_mmseg.engine.run_settings import describe_settings, write_schedule
from cda_mmseg.evaluation.domain_iou import DomainIoUMetric
from cda_mmseg.models.losses import WarmStartLoss

if TYPE_CHECKING:
    from cda_mmseg.engine.loops import UDATrainLoop
    from cda_mmseg.models.segmentors import UDASegmentor

NEEDED_HOOKS: dict[type[Hook], str] = {
    StopHook: 'SIGTERM and Ctrl-C save nothing',
    BoundedHistoryHook: 'every iteration is slower than the one before it, and checkpoints grow',
}
"""Hooks of default_runtime.py, and what a run without them is like."""


def check_in_force(runner: Runner, model: 'UDASegmentor') -> None:
    """Find settings that the run would not follow, before its first step.

    Args:
        runner: A run about to train.
        model: Its segmentor, unwrapped.

    Raises:
        ValueError: If a schedule counts epochs, of which a run by iterations has one, or is of an unknown player; if a
            hook waits for a score that no validation gives, or draws every zeroth prediction.
    """
    written = runner.cfg.get('param_scheduler')
    players = set(written) if isinstance(written, dict) and 'type' not in written else set()
    if unknown := sorted(players - set(model.player_names)):
        raise ValueError(
            f'param_scheduler has keys {unknown}, but {type(model).__name__} has only {list(model.player_names)}.'
        )
    _check_validation_hooks(runner)
    for key, scheduler in _schedulers(runner):
        if scheduler.by_epoch and not getattr(scheduler, 'need_val_args', False):
            raise ValueError(
                f'{key} ({type(scheduler).__name__}) would never change anything: it counts epochs, and this run '
                'counts iterations. Set by_epoch=False, and milestones, begin and end in iterations.'
            )
    for name, adaptation in model.adaptations.items():
        if not adaptation.iterations(runner.max_iters):
            runner.logger.warning(
                f'The adaptation {name} takes part in none of the {runner.max_iters} iterations: between its begin '
                f'({adaptation.begin:g} of them) and its end ({adaptation.end:g}) none begins.'
            )
    missing = [hook for hook in NEEDED_HOOKS if not any(isinstance(one, hook) for one in runner.hooks)]
    if missing:
        without = '; '.join(f"dict(type='{hook.__name__}'), without which {NEEDED_HOOKS[hook]}" for hook in missing)
        runner.logger.warning(
            f'custom_hooks replaces the list of configs/_base_/default_runtime.py. Add to it {without}.'
        )


def _check_validation_hooks(runner: Runner) -> None:
    validation = runner.val_loop
    if validation is None:
        return
    metrics, wanted = validation.evaluator.metrics, {}
    for hook in runner.hooks:
        if isinstance(hook, SegVisualizationHook) and hook.draw and hook.interval < 1:
            raise ValueError(f'SegVisualizationHook.interval must be at least 1, got {hook.interval}.')
        if isinstance(hook, EarlyStoppingHook):
            wanted[hook.monitor] = 'EarlyStoppingHook.monitor'
        if isinstance(hook, CheckpointHook):
            wanted |= {name: f'{type(hook).__name__}.save_best' for name in hook.save_best or () if name != 'auto'}
    if all(isinstance(one, DomainIoUMetric) and not one.prefix for one in metrics):
        domains = set(domains_of(validation.dataloader.dataset)) - {''}
        domains |= {role_of(domain) for domain in domains}
        for name, place in wanted.items():
            if name.partition('/')[0] not in domains:
                known = ', '.join(f'{domain}/mIoU' for domain in sorted(domains, reverse=True))
                raise ValueError(f'{place} asks for {name!r}, but scores are named after their domain, as {known}.')


def _schedulers(runner: Runner) -> Iterator[tuple[str, _ParamScheduler]]:
    """Walk over the schedules and their places in the config."""
    schedulers = runner.param_schedulers or []
    groups = schedulers.items() if isinstance(schedulers, dict) else [('', schedulers)]
    for player, group in groups:
        place = f'param_scheduler.{player}' if player else 'param_scheduler'
        yield from ((f'{place}[{number}]', scheduler) for number, scheduler in enumerate(group))


def describe_run(loop: 'UDATrainLoop', model: 'UDASegmentor') -> str:
    """Say in a few lines what a run trains with.

    Args:
        loop: The loop of a run about to train.
        model: Its segmentor, unwrapped.
    """
    runner = loop.runner
    lines = [f'Iterations {loop.iter} to {loop.max_iters}, seed {runner.seed}. In force:']
    for name, head in model.encoder.heads.items():
        losses = head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
        written = ' + '.join(_describe_loss(loss, loop.max_iters) for loss in losses)
        lines.append(f'source loss, {name}: {written}')
    for name, adaptation in model.adaptations.items():
        active = adaptation.iterations(loop.max_iters)
        unused = sorted(set(adaptation.players) - set(adaptation.trained_players))
        remark = f'; without a loss, and not trained: {", ".join(unused)}' if unused else ''
        lines.append(
            f'adaptation {name}: {type(adaptation).__name__}, iterations {active.start} to {active.stop}{remark}'
        )
    if not model.adaptations:
        lines.append('no adaptation: the source alone')
    for name, settings in describe_settings(runner)['players'].items():
        values = {
            key: list(dict.fromkeys(group[key] for group in settings['groups']))
            for key in ('lr', 'weight_decay')
            if key in settings['groups'][0]
        }
        rates = ', '.join(f'{key} {" and ".join(f"{value:g}" for value in found)}' for key, found in values.items())
        lines.append(
            f'player {name}: {settings["optimizer"]}, {rates}; schedule: {write_schedule(settings["schedule"])}'
        )
    for domain, loader in loop.loaders.items():
        order = type(loader.dataset.order).__name__
        lines.append(f'trained on {domain}: {len(loader.dataset)} images, {loader.batch_size} at a time, {order}')
        if domain == 'source' and loop.labelled_share:
            few = len(loader.dataset) - len(loop.data_sets['source'])
            lines.append(f'labelled_target: {few} of these images, drawn for {loop.labelled_share:g} of all samples')
    lines += _describe_unlabelled_classes(loop)
    lines.append(_describe_validation(loop))
    return '\n  '.join(lines)


def _describe_loss(loss: nn.Module, max_iters: int) -> str:
    if isinstance(loss, WarmStartLoss):
        warm, main = (_describe_loss(one, max_iters) for one in (loss.warm, loss.main))
        return f'{warm} until iteration {loss.warm_iterations(max_iters)}, then {main}'
    weight = getattr(loss, 'loss_weight', 1.0)
    return type(loss).__name__ if weight == 1 else f'{type(loss).__name__} × {weight:g}'


def _describe_unlabelled_classes(loop: 'UDATrainLoop') -> list[str]:
    """Name the classes that no label id of the source becomes, where its loaders say so."""
    learnt: set[int] = set()
    for _, single in single_data_sets(loop.loaders['source'].dataset.dataset, ''):
        loader = next((step for step in steps_of(single) if isinstance(step, LABEL_LOADERS)), None)
        if not isinstance(loader, LoadLabelIds):
            return []
        renumbered = single.label_map or {}
        learnt |= {renumbered.get(one, one) for one in set(loader.table.tolist())}
    classes = loop.loaders['source'].dataset.metainfo.get('classes') or ()
    missing = [name for number, name in enumerate(classes) if number not in learnt]
    return [f'classes without labels in the source, which nothing trains: {", ".join(missing)}'] if missing else []


def _describe_validation(loop: 'UDATrainLoop') -> str:
    validation = loop.runner.val_loop
    if validation is None:
        return 'scored: nothing (no val_cfg)'
    domains = ', '.join(
        f'{images} images of {domain or "an unnamed domain"}'
        for domain, images in domains_of(validation.dataloader.dataset).items()
    )
    metrics = ', '.join(type(metric).__name__ for metric in validation.evaluator.metrics)
    if loop.val_interval > loop.max_iters:
        when = 'at the end'
    else:
        when = f'every {loop.val_interval} iterations and at the end'
    return f'scored {when}: {domains} ({metrics})'
