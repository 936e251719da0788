"""Let images be predicted in several views, such as scales and flips, whatever loads them."""

from collections.abc import Mapping, Sequence

from mmengine.config import ConfigDict

FLIP_KEYS = ('flip', 'flip_direction')


def augment_pipeline(pipeline: Sequence[Mapping], augmentation: Sequence[Mapping], key: str) -> list[dict]:
    """Lay the views of a ``tta_pipeline`` over a validation pipeline.

    The steps up to the image loader are done once, then come the views. ``Resize(scale_factor=...)`` of a view scales
    what the validation's own ``Resize`` asks for, or the image where there is none; ``Resize(scale=...)`` takes its
    place. All other steps follow, labels among them, so that they stay as they are; how ``augmentation`` would load
    and pack is left aside.

    Args:
        pipeline (Sequence[Mapping]): Configs of the transforms: any image loader (a transform called ``Load…Image…``)
            among them, and ``PackSegInputs``.
        augmentation (Sequence[Mapping]): The ``tta_pipeline``, with ``TestTimeAug`` in it.
        key (str): Where the pipeline stands in the config, for errors.

    Returns:
        list[dict]: Configs of the augmented pipeline; one that augments already stays as it is.

    Raises:
        ValueError: If there is no image loader, nothing is packed, or ``augmentation`` has no ``TestTimeAug``.
    """
    names = [_name(step) for step in pipeline]
    if 'TestTimeAug' in names:
        return list(pipeline)
    loader = next((place for place, name in enumerate(names) if name.startswith('Load') and 'Image' in name), None)
    if loader is None or 'PackSegInputs' not in names:
        raise ValueError(
            f'{key} cannot be augmented at test time: it needs a transform that loads the image (Load…Image…) and '
            f'PackSegInputs, but has {", ".join(names)}.'
        )
    views = next((step['transforms'] for step in augmentation if _name(step) == 'TestTimeAug'), None)
    if views is None:
        raise ValueError('tta_pipeline has no TestTimeAug: it holds the views that are predicted and averaged.')
    later = [step for place, step in enumerate(pipeline) if place > loader]
    resize = next((step for step in later if _name(step) == 'Resize'), dict(type='Resize', keep_ratio=True))
    pack = next(step for step in later if _name(step) == 'PackSegInputs')
    if 'meta_keys' in pack:
        pack = dict(pack, meta_keys=tuple(dict.fromkeys((*pack['meta_keys'], *FLIP_KEYS))))
    views = [
        [_scaled(resize, view) if _name(view) == 'Resize' else view for view in axis]
        for axis in views
        if not any(_name(view).startswith(('Load', 'Pack')) for view in axis)
    ]
    is_sized = any(_name(view) == 'Resize' for axis in views for view in axis)
    others = [step for step in later if _name(step) != 'PackSegInputs' and not (is_sized and _name(step) == 'Resize')]
    return [
        *pipeline[: loader + 1],
        dict(type='TestTimeAug', transforms=[*views, *([step] for step in others), [pack]]),
    ]


def augment_config(config: ConfigDict) -> None:
    """Let ``config``'s test data be augmented by its ``tta_pipeline``, and ``tta_model`` merge the predictions.

    Args:
        config (ConfigDict): The config to change.

    Raises:
        ValueError: If a key is missing, or a pipeline cannot be augmented.
    """
    if missing := [key for key in ('tta_model', 'tta_pipeline') if key not in config]:
        raise ValueError(f'The config has no {" and no ".join(missing)}; _base_/default_runtime.py has both.')
    data = config.test_dataloader.dataset
    members = [(f'.datasets.{number}', member) for number, member in enumerate(data.get('datasets', ()))]
    for place, member in members or [('', data)]:
        key = f'test_dataloader.dataset{place}.pipeline'
        member.pipeline = augment_pipeline(member.pipeline, config.tta_pipeline, key)
    config.model = ConfigDict(**config.tta_model, module=config.model)


def _name(step: Mapping) -> str:
    """Name the type of a transform's config, which may be the class itself."""
    return step['type'] if isinstance(step['type'], str) else step['type'].__name__


def _scaled(resize: Mapping, view: Mapping) -> dict:
    """Scale what a ``Resize`` asks for, a size or a factor, by a view's factor; a view's own size stays."""
    if view.get('scale') is not None:
        return dict(view)
    ratios = _pair(view['scale_factor'])
    resize = dict(resize)
    scale = resize.pop('scale', None)
    factor = _pair(resize.pop('scale_factor', None) or 1.0)
    if scale is None:
        return dict(resize, scale_factor=tuple(ratio * side for ratio, side in zip(ratios, factor, strict=True)))
    return dict(resize, scale=tuple(round(side * ratio) for side, ratio in zip(_pair(scale), ratios, strict=True)))


def _pair(value: float | Sequence[float]) -> tuple[float, float]:
    return tuple(value) if isinstance(value, Sequence) else (value, value)
