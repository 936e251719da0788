import math
import re
from pathlib import Path

import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from cda_mmseg.datasets.test_time_augmentation import augment_config, augment_pipeline

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'

PACK = dict(type='PackSegInputs', meta_keys=('img_path', 'domain'))
FLIPS = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
TTA = Config.fromfile(CONFIGS / '_base_' / 'default_runtime.py').tta_pipeline


@pytest.mark.parametrize('loader', ['LoadImage', 'LoadImageFromFile', 'LoadSingleRSImageFromFile', LoadImageFromFile])
def test_any_image_loader_stays_in_front(loader):
    steps = [dict(type=loader), dict(type='Resize', scale=(64, 32)), dict(type='LoadAnnotations'), PACK]
    first, augmented = augment_pipeline(steps, TTA, 'x')
    assert first == dict(type=loader) and augmented['type'] == 'TestTimeAug'
    sizes, flips, *others, packed = augmented['transforms']
    assert [step['scale'] for step in sizes] == [(48, 24), (64, 32), (80, 40)]
    assert flips == FLIPS and others == [[dict(type='LoadAnnotations')]]
    assert packed == [dict(PACK, meta_keys=('img_path', 'domain', 'flip', 'flip_direction'))]


@pytest.mark.parametrize(
    'resize, expected',
    [
        ([], [dict(keep_ratio=True, scale_factor=(ratio, ratio)) for ratio in (0.75, 1.0, 1.25)]),
        ([dict(type='Resize', scale=64)], [dict(scale=(48, 48)), dict(scale=(64, 64)), dict(scale=(80, 80))]),
        ([dict(type='Resize', scale_factor=0.5)], [dict(scale_factor=(side, side)) for side in (0.375, 0.5, 0.625)]),
        (
            [dict(type='Resize', scale=(8, 4), keep_ratio=True)],
            [dict(scale=size, keep_ratio=True) for size in ((6, 3), (8, 4), (10, 5))],
        ),
    ],
)  # fmt: skip
def test_resizes_keep_what_they_say(resize, expected):
    augmented = augment_pipeline([dict(type='LoadImage'), *resize, PACK], TTA, 'x')[1]
    assert augmented['transforms'][0] == [dict(type='Resize', **step) for step in expected]


def test_steps_of_one_type_are_all_kept():
    tags = [dict(type='TagDomain', domain='source'), dict(type='TagDomain', domain='target')]
    augmented = augment_pipeline([dict(type='LoadImage'), *tags, dict(type='PackSegInputs')], TTA, 'x')[1]
    assert augmented['transforms'][2:] == [[tags[0]], [tags[1]], [dict(type='PackSegInputs')]]


def test_augmented_pipelines_stay():
    once = augment_pipeline([dict(type='LoadImage'), PACK], TTA, 'x')
    assert augment_pipeline(once, TTA, 'x') == once


@pytest.mark.parametrize('steps', [[PACK], [dict(type='LoadImage')], [dict(type='LoadAnnotations'), PACK]])
def test_pipelines_that_cannot_be_augmented_are_named(steps):
    with pytest.raises(ValueError, match=r'^x cannot be augmented at test time: it needs'):
        augment_pipeline(steps, TTA, 'x')


def test_the_views_are_those_of_the_config():
    views = [[dict(type='Resize', scale=(20, 10))], [dict(type='RandomFlip', prob=0.0)]]
    steps = [dict(type='LoadImage'), dict(type='Resize', scale=(8, 4)), dict(type='TagDomain', domain='target'), PACK]
    augmented = augment_pipeline(steps, [dict(type='TestTimeAug', transforms=views)], 'x')[1]
    assert augmented['transforms'][:3] == [*views, [steps[2]]]
    # without a size among the views the validation's own stays
    augmented = augment_pipeline(steps, [dict(type='TestTimeAug', transforms=views[1:])], 'x')[1]
    assert augmented['transforms'][:3] == [views[1], [steps[1]], [steps[2]]]
    with pytest.raises(ValueError, match='tta_pipeline has no TestTimeAug'):
        augment_pipeline(steps, steps, 'x')


def test_what_augmenting_needs_of_a_config_is_named():
    config = Config.fromfile(CONFIGS / 'cl_gta2city.py')
    config.pop('tta_pipeline')
    with pytest.raises(ValueError, match='The config has no tta_pipeline; _base_/default_runtime'):
        augment_config(config)


@pytest.mark.parametrize('name', ['cl_gta2city', 'cl_airsim2camvid'])
def test_mmsegs_way_augments_as_ours(name):
    """Its test.py puts the tta_pipeline where the pipeline of all test data stands."""
    ours, theirs = (Config.fromfile(CONFIGS / f'{name}.py') for _ in range(2))
    augment_config(ours)
    theirs.test_dataloader.dataset.pipeline = theirs.tta_pipeline
    for config in (ours, theirs):
        for member in config.test_dataloader.dataset.datasets:
            member.lazy_init = True
    init_default_scope('mmseg')
    ours, theirs = (DATASETS.build(dict(config.test_dataloader.dataset, lazy_init=True)) for config in (ours, theirs))
    for one, other in zip(ours.datasets, theirs.datasets, strict=True):
        steps = [re.sub(' at 0x[0-9a-f]+', '', repr(dataset.pipeline)) for dataset in (one, other)]
        assert steps[0] == steps[1] and len(other.pipeline.transforms[-1].subroutines) == 6


@pytest.mark.parametrize('name', ['cl_gta2city', 'cl_airsim2camvid'])
def test_test_time_augmentation_makes_six_labelled_views(name):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    augment_config(config)
    for dataset in config.test_dataloader.dataset.datasets:
        axes = dataset.pipeline[1].transforms
        assert math.prod([len(axis) for axis in axes]) == 6
        kinds = [axis[0].type for axis in axes]
        assert kinds[:2] == ['Resize', 'RandomFlip'] and kinds[-1] == 'PackSegInputs'
        assert 'TagDomain' in kinds and {'LoadLabelIds', 'LoadAnnotations'} & set(kinds)
