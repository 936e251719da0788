"""Keys of a config that nobody reads: helpers of the config itself, and misspellings."""

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from mmengine.config import Config
from mmengine.runner import Runner

from cda_mmseg.engine.checkpointing.fitting import FRESH_PARTS
from cda_mmseg.engine.composition import COMPOSED_KEYS

READ_KEYS = frozenset(inspect.signature(Runner).parameters) - {'cfg'} | {
    # by mmengine's runner straight from the config
    *('runner_type', 'compile', 'model_wrapper_cfg', 'sync_bn', 'find_unused_parameters'),
    *('activation_checkpointing', 'efficient_conv_bn_eval', 'custom_imports'),
    # by mmseg's tools and inferencer, and by our loop
    *('tta_model', 'tta_pipeline', 'test_pipeline', 'target_dataloader', 'labelled_target'),
    *('branch_from', FRESH_PARTS),
    # by compose, which lays them over the network
    *COMPOSED_KEYS,
}
"""Keys at the top of a config that something reads."""

COPIES = {
    'data_preprocessor': 'model.data_preprocessor',
    'train_pipeline': 'train_dataloader.dataset.pipeline',
    'vis_backends': 'visualizer.vis_backends',
}
"""Keys at the top that mmseg's own tools look for → where what is in force stands."""

CLOSED = {
    'model.test_cfg': ('mode', 'crop_size', 'stride', 'subdivision_steps', 'scale_factor'),
    'model.train_cfg': ('num_points', 'oversample_ratio', 'importance_sample_ratio', 'assigner', 'sampler'),
    'model.data_preprocessor.test_cfg': ('size', 'size_divisor'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
    '*.data_prefix': ('img_path', 'seg_map_path', 'img_path2', 'depth_map_path'),
    '*.paramwise_cfg': (
        *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'dwconv_decay_mult'),
        *('dcn_offset_lr_mult', 'flat_decay_mult', 'bypass_duplicate'),
        # mmseg's decay by layers
        *('num_layers', 'decay_rate', 'decay_type'),
    ),
}
"""Pattern of a dict's place → all keys that mmengine and mmseg ask it for; they leave others unread without a word."""

OPEN = {
    'default_hooks': (
        *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint', 'visualization'),
    ),
    '*.metainfo': ('classes', 'palette', 'reduce_zero_label'),
    '*.custom_keys.*': ('lr_mult', 'decay_mult'),
}
"""Likewise for dicts that may have keys of the user's own; only what looks like one of these is suspect."""


def unread_keys(config: Config) -> list[str]:
    """List the keys that nobody reads, each with what may have been meant.

    Classes and functions refuse arguments that they do not know, so only dicts that are asked for their keys are looked
    at: the config itself, and those of :data:`CLOSED` and :data:`OPEN`.

    Args:
        config: A config, composed or not.
    """
    top = sorted(set(config) - READ_KEYS - set(COPIES))
    copies = [f'{key} ({place} is in force)' for key, place in COPIES.items() if not _agrees(config, key, place)]
    return [*(_with_suggestion(key, READ_KEYS) for key in top), *copies, *_unread_below(config.to_dict(), '')]


def _agrees(config: Config, key: str, place: str) -> bool:
    """Tell whether a copy, if there is one, holds what stands in force."""
    node = config
    for part in place.split('.'):
        node = (node or {}).get(part)
    return key not in config or node is None or node == config[key]


def warn_of_unread_keys(runner: Runner) -> None:
    """Log the keys of a runner's config that nobody reads."""
    if unread := unread_keys(runner.cfg):
        runner.logger.warning(
            f'{runner.cfg.filename or "The config"} has keys that nobody reads, so they change nothing: '
            f'{", ".join(unread)}. Helpers of the config itself may stay.'
        )


def _unread_below(node: object, place: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        children = {str(key): value for key, value in node.items()}
        for pattern, known in CLOSED.items():
            if fnmatchcase(place, pattern):
                unknown = [key for key in children if key not in known]
                yield from (_with_suggestion(f'{place}.{key}', known) for key in unknown)
        for pattern, known in OPEN.items():
            if fnmatchcase(place, pattern):
                unknown = [key for key in children if key not in known and _similar(key, known)]
                yield from (_with_suggestion(f'{place}.{key}', known) for key in unknown)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        children = {str(number): value for number, value in enumerate(node)}
    else:
        return
    for key, value in children.items():
        yield from _unread_below(value, f'{place}.{key}' if place else key)


def _similar(key: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(key, known, n=1, cutoff=0.8)


def _with_suggestion(place: str, known: Sequence[str] | frozenset[str]) -> str:
    similar = _similar(place.rpartition('.')[2], list(known))
    return f'{place} (did you mean {similar[0]}?)' if similar else place
