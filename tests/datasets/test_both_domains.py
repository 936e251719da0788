"""The validation data of several domains in one data set."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from cda_mmseg.datasets.both_domains import select_role


@pytest.fixture
def config(tmp_path):
    init_default_scope('mmseg')

    def part(domain, count):
        (tmp_path / domain).mkdir()
        for number in range(count):
            Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(tmp_path / domain / f'{number}.png')
        return dict(
            type='BaseSegDataset',
            metainfo=dict(classes=('road', 'sky')),
            data_root=str(tmp_path),
            data_prefix=dict(img_path=domain),
            img_suffix='.png',
            test_mode=True,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='TagDomain', domain=domain),
                dict(type='PackSegInputs', meta_keys=('img_path', 'domain')),
            ],
        )

    return lambda **counts: dict(
        type='BothDomainsDataset', datasets=[part(domain, count) for domain, count in counts.items()]
    )


def test_any_number_of_domains_follow_each_other(config):
    dataset = DATASETS.build(config(target_day=2, source=3, target_night=1))
    assert [item['data_samples'].domain for item in dataset] == ['target_day'] * 2 + ['source'] * 3 + ['target_night']
    assert [item['data_samples'].domain for item in select_role(dataset, 'target')] == ['target_day'] * 2 + [
        'target_night'
    ]
    assert len(select_role(dataset, 'source')) == 3
    assert len(select_role(dataset.datasets[0], 'target')) == 2


def test_a_role_without_images_is_named(config):
    dataset = DATASETS.build(config(target=1))
    with pytest.raises(ValueError, match="no images of the domain 'source'"):
        select_role(dataset, 'source')


def test_names_that_mean_two_things_are_refused_before_any_image(config):
    with pytest.raises(ValueError, match=r"source, source_gta cannot .* 'source' is the name .*='source_day'"):
        DATASETS.build(config(source=1, source_gta=1, target=1))


@pytest.mark.parametrize('seen', [(True, False), (False, True), (False, False)])
def test_sources_are_seen_in_training_if_one_of_them_is(config, seen):
    joined = config(target=1, source_gta=1, source_synthia=1)
    for part, value in zip(joined['datasets'][1:], seen, strict=True):
        part['metainfo'] = dict(part['metainfo'], source_part=dict(part='monitor', seen_in_training=value))
    assert DATASETS.build(joined).metainfo['source_part']['seen_in_training'] == any(seen)
