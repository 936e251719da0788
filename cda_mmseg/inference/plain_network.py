"""The network of a run as a config for plain mmseg: an ``EncoderDecoder`` that reads pictures with stock transforms."""

from collections.abc import Iterator, Mapping, Sequence

from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmseg.registry import MODELS, TRANSFORMS

from cda_mmseg.datasets.pipelines import LABEL_LOADERS
from cda_mmseg.datasets.transforms import LoadImage, TagDomain

PARTS = ('backbone', 'neck', 'decode_head')
"""What predicts; auxiliary heads only train."""

TRAINING_KEYS = ('init_cfg', 'loss_decode', 'pretrained')
STOCK_PACKAGES = ('mmcv', 'mmengine', 'mmseg', 'torch')


def plain_config(config: Config, meta: Mapping) -> Config:
    """Reduce the config of a run to what predicting needs.

    Args:
        config: The run's.
        meta: ``classes``, ``palette`` and what else its data sets say.

    Raises:
        ValueError: If the ``test_pipeline`` cannot be written with stock transforms.
    """
    model = {key: config.model[key] for key in PARTS if config.model.get(key)}
    plain = {key: without_training(part) for key, part in model.items()}
    # whoever trains on begins with mmseg's loss; its default warns of itself
    plain['decode_head']['loss_decode'] = dict(type='CrossEntropyLoss', avg_non_ignore=True)
    pipeline = _stock_pipeline(config.get('test_pipeline') or ())
    parts = dict(
        default_scope='mmseg',
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=config.model.data_preprocessor,
            test_cfg=config.model.get('test_cfg') or dict(mode='whole'),
            **plain,
        ),
        test_pipeline=pipeline,
        # from it mmseg's inferencer takes the steps, and whoever builds the data set the classes
        test_dataloader=dict(
            batch_size=1,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='BaseSegDataset', test_mode=True, metainfo=dict(meta), pipeline=pipeline),
        ),
        # mmseg's inferencer does not begin without one
        visualizer=dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'),
    )
    if modules := modules_beyond_mmseg(parts['model']):
        parts['custom_imports'] = dict(imports=modules, allow_failed_imports=False)
    return Config(parts)


def modules_beyond_mmseg(model: Mapping) -> list[str]:
    """Name the modules of the networks that mmseg does not bring itself."""
    classes = {MODELS.get(kind) for kind in _types(model)}
    modules = {kind.__module__ for kind in classes if kind is not None}
    return sorted(name for name in modules if name.split('.')[0] not in STOCK_PACKAGES)


def _types(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get('type'), str):
            yield node['type']
        for value in node.values():
            yield from _types(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _types(value)


def without_training(node: object) -> object:
    """Leave out initial weights, whose paths are of no use elsewhere, and losses."""
    if isinstance(node, Mapping):
        return {key: without_training(value) for key, value in node.items() if key not in TRAINING_KEYS}
    return [without_training(value) for value in node] if isinstance(node, list) else node


def _stock_pipeline(steps: Sequence[Mapping]) -> list[dict]:
    """Write a pipeline with mmseg's and mmcv's transforms alone, which load no labels."""
    plain = []
    for step in steps:
        kind = TRANSFORMS.get(step['type'])
        if issubclass(kind, (*LABEL_LOADERS, TagDomain)):
            continue
        if kind is LoadImage and step.get('bits') is None:
            plain.append({**step, 'type': 'LoadImageFromFile'})
        elif kind.__module__.split('.')[0] in STOCK_PACKAGES:
            plain.append(dict(step))
        else:
            raise ValueError(
                f'test_pipeline: {dict(step)} has no counterpart in mmseg, so others cannot read pictures.'
            )
    if not any(issubclass(TRANSFORMS.get(step['type']), LoadImageFromFile) for step in plain):
        raise ValueError('The config has no test_pipeline that loads an image, so it does not say how to read one.')
    return plain
