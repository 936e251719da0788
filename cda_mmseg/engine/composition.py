"""Lay what a method and the runtime say over the network of a config.

mmengine refuses one key in two bases, and network, method and runtime all speak about ``model``. So a method writes
``adaptations``, ``source_loss`` and ``source_style``, the runtime writes ``execution``, and :func:`compose` brings them
to where they are read.
"""

import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config, ConfigDict

COMPOSED_KEYS = ('adaptations', 'execution', 'source_loss', 'source_style')
SHARED_NAME = 'visualizer'


class CachedTextConfig(Config):
    """A config whose text is formatted again only when it has changed.

    mmengine formats it four times at every start and once for every checkpoint, at half a second each.
    """

    _formatted = ('', '')

    @property
    def pretty_text(self) -> str:
        """Return the config as Python code."""
        content = repr(self._cfg_dict)
        if self._formatted[0] != content:
            object.__setattr__(self, '_formatted', (content, super().pretty_text))
        return self._formatted[1]


def read_config(path: str | Path) -> Config:
    """Read a config file and compose it."""
    config = Config.fromfile(path)
    compose(config)
    return config


def compose(config: Config) -> None:
    """Move a config's ``adaptations``, ``execution``, ``source_loss`` and ``source_style`` to their places.

    * ``adaptations`` and ``execution`` go under ``model``; what stands there already wins.
    * The ``optimizers`` of each adaptation go under ``optim_wrapper``, the ``param_scheduler`` in each of them under
      ``param_scheduler``; what stands there already wins.
    * ``source_loss`` becomes ``model.decode_head.loss_decode``, so that a replaced head keeps the method's loss.
    * ``source_style``, a transform, goes before the last step of the source's pipelines; it draws from the data set of
      ``target_dataloader`` unless it names a ``target``.
    * ``labelled_target.dataset`` without a ``type`` is laid over ``train_dataloader.dataset``.
    * The visualizer's shipped name, which mmseg's ``browse_dataset`` wants, goes: visualizers of one name are one, and
      a second run in a process would log into the first one's folder. The runner names it after the run.
    * Paths that begin with ``~/`` are those of the home folder; no shell has seen them.

    A config that was composed before stays as it is.

    Args:
        config (Config): The config to change.

    Raises:
        ValueError: If ``source_loss`` and ``model.decode_head.loss_decode`` are both given, or neither, or
            ``labelled_target`` is no data set with a share between 0 and 1.
        TypeError: If players' optimizers meet an ``optim_wrapper`` or a ``param_scheduler`` for one optimizer.
    """
    # Config's own __setattr__ makes keys of the config.
    object.__setattr__(config, '__class__', CachedTextConfig)
    _expand_home(config)
    if (config.get('visualizer') or {}).get('name') == SHARED_NAME:
        config.visualizer.pop('name')
    parts = {key: config.pop(key) for key in COMPOSED_KEYS if key in config}
    for key in ('adaptations', 'execution'):
        if parts.get(key):
            config.model[key] = _merge(parts[key], config.model.get(key) or {})
    if parts.get('source_loss') and isinstance(config.model.decode_head, dict):
        if own := config.model.decode_head.get('loss_decode'):
            named = own.type if isinstance(own, dict) else ', '.join(one.type for one in own)
            raise ValueError(
                f'source_loss ({parts["source_loss"].type}) and model.decode_head.loss_decode ({named}) both name the '
                'segmentation loss, and only one can be in force: change source_loss (with _delete_=True for a loss of '
                'another type), or set source_loss=None.'
            )
        config.model.decode_head.loss_decode = parts['source_loss']
    _check_method(config)
    if config.get('labelled_target'):
        _complete_labelled_target(config)
    if parts.get('source_style'):
        style = ConfigDict(parts['source_style'])
        if 'target' not in style:
            style.target = deepcopy(config.target_dataloader.dataset)
        _add_last_step(config.train_dataloader.dataset, style)
    players: dict[str, ConfigDict] = {}
    for adaptation in (config.model.get('adaptations') or {}).values():
        players |= (adaptation or {}).pop('optimizers', {})
    if players:
        _add_players(config, players)


def check_option(config: Config, key: str, value: object) -> None:
    """Refuse an option whose parents are not there, or that would put one value in the place of many keys.

    Args:
        config (Config): What the option is going to change.
        key (str): Names joined by dots; numbers for the entries of lists.
        value (object): Its value.

    Raises:
        KeyError: If the config does not have the parents.
        TypeError: If what stands there has keys of its own, and the value is neither a container nor None.
    """
    children, place = dict(config.items()), 'the config'
    *parents, last = key.split('.')
    for part in parents:
        if part not in children:
            raise KeyError(f'--cfg-options {key}: {place} has no {part!r}, only {sorted(map(str, children))}.')
        node = children[part]
        place = part if place == 'the config' else f'{place}.{part}'
        if not isinstance(node, dict | list):
            raise KeyError(f'--cfg-options {key}: {place} is {node!r}, which has no keys of its own.')
        children = node if isinstance(node, dict) else {str(index): child for index, child in enumerate(node)}
    if parents and isinstance(node, list) and last not in children:
        raise KeyError(f'--cfg-options {key}: {place} has no {last!r}, only {sorted(children)}.')
    former = children.get(last)
    has_keys = isinstance(former, dict) or (isinstance(former, list) and any(isinstance(one, dict) for one in former))
    if has_keys and not (value is None or isinstance(value, dict | list)):
        first = next(iter(former)) if isinstance(former, dict) else 0
        raise TypeError(
            f'--cfg-options {key}={value}: it has keys of its own. Give one of them, such as {key}.{first}, a value, '
            f'or {key}=None.'
        )


def _complete_labelled_target(config: Config) -> None:
    labelled, source = config.labelled_target, config.train_dataloader.dataset
    share = labelled.get('share') if isinstance(labelled, dict) and set(labelled) == {'dataset', 'share'} else None
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise ValueError(
            'labelled_target must be dict(dataset=dict(...), share=...) with the share, between 0 and 1, that its '
            f'pictures are of all labelled ones drawn, got {labelled}.'
        )
    if 'type' not in labelled.dataset:
        if 'datasets' in source:
            raise ValueError(
                'labelled_target.dataset needs a type and all that a data set needs: without one it is laid over '
                'train_dataloader.dataset, but that joins several.'
            )
        config.labelled_target = dict(labelled, dataset=_merge(source, labelled.dataset))


def _add_last_step(dataset: ConfigDict, step: ConfigDict) -> None:
    """Put a step before the one that packs, in a data set's pipeline or in those of the data sets that it joins."""
    if 'pipeline' in dataset:
        *steps, pack = dataset.pipeline
        dataset.pipeline = [*steps, step, pack]
    for part in dataset.get('datasets', [dataset.dataset] if 'dataset' in dataset else []):
        _add_last_step(part, step)


def _check_method(config: Config) -> None:
    """Refuse a segmentor of ours without any loss: mmseg's default would train the source alone."""
    model = config.get('model') or {}
    head = model.get('decode_head')
    if str(model.get('type')).endswith('UDASegmentor') and isinstance(head, dict) and not head.get('loss_decode'):
        raise ValueError(
            'The config has no method: neither source_loss nor model.decode_head.loss_decode says what to train. Add '
            "a file of configs/_base_/methods to _base_, such as '_base_/methods/source_only.py', or set source_loss."
        )


def _expand_home(node: Config | Mapping | list) -> None:
    """Write out the home folder in every value."""
    for key, value in list(enumerate(node) if isinstance(node, list) else node.items()):
        if isinstance(value, str) and (value == '~' or value.startswith('~/')):
            node[key] = os.path.expanduser(value)
        elif isinstance(value, Mapping | list):
            _expand_home(value)


def _add_players(config: Config, players: dict[str, ConfigDict]) -> None:
    optimizers = config.get('optim_wrapper')
    if optimizers is None or 'optimizer' in optimizers:
        raise TypeError(
            f'The adaptations bring players with optimizers of their own ({", ".join(players)}), so optim_wrapper must '
            "name its players: optim_wrapper=dict(constructor='PlayerOptimWrapperConstructor', encoder=dict(...))."
        )
    schedules = config.get('param_scheduler') or ConfigDict()
    if not isinstance(schedules, dict) or 'type' in schedules:
        raise TypeError(
            'param_scheduler does not say which player it is meant for: write '
            'param_scheduler=dict(_delete_=True, encoder=[...]). Players without a schedule keep their rates.'
        )
    for name, optimizer in players.items():
        optimizer = _merge(optimizer, optimizers.get(name) or {})
        schedules.setdefault(name, optimizer.pop('param_scheduler', []))
        optimizers[name] = optimizer
    schedules.setdefault('encoder', [])
    config.param_scheduler = schedules


def _merge(base: ConfigDict, over: ConfigDict) -> ConfigDict:
    """Lay one dict over another, as config inheritance does."""
    return ConfigDict(Config._merge_a_into_b(deepcopy(dict(over)), deepcopy(dict(base))))
