import pytest
from mmseg.registry import DATASETS

from cda_mmseg.datasets.preparation import check_prepared_copy, prepare

from .conftest import gtav_config

KEY = 'train_dataloader.dataset'


@pytest.fixture(scope='module')
def copy(worlds, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('copy') / 'copy')
    prepare(gtav_config(worlds / 'gta2city' / 'gtav'), folder, report=lambda line: None)
    return folder


def check(config):
    check_prepared_copy(DATASETS.build(config), config, KEY)


def test_raw_data_and_fitting_copies_pass(worlds, copy):
    check(gtav_config(worlds / 'gta2city' / 'gtav'))
    check(gtav_config(copy))


def test_another_size_than_prepared_is_refused(worlds, copy):
    config = gtav_config(copy)
    config['pipeline'][2] = dict(type='Resize', scale=(128, 128), keep_ratio=True)
    with pytest.raises(ValueError) as error:
        check(config)
    for part in (f'{KEY}.data_root={copy}', '[64, 64]', '[128, 128]', str(worlds / 'gta2city' / 'gtav')):
        assert part in str(error.value)


def test_training_without_a_resize_is_another_size_too(copy):
    config = gtav_config(copy)
    del config['pipeline'][2]
    with pytest.raises(ValueError, match='asks for none'):
        check(config)


def test_other_bits_than_prepared_are_refused(copy):
    config = gtav_config(copy)
    config['pipeline'][0] = dict(type='LoadImage', bits=12)
    with pytest.raises(ValueError, match=r'prepared for images of bits=None, but .* asks for bits=12'):
        check(config)
    config['pipeline'][0] = dict(type='LoadImageFromFile')
    check(config)


def test_other_label_ids_than_prepared_are_refused(copy):
    config = gtav_config(copy)
    config['pipeline'][1] = dict(type='LoadAnnotations')
    with pytest.raises(ValueError, match=r'prepared for labels read by LoadLabelIds\(.*by LoadAnnotations\(\)'):
        check(config)


def test_other_classes_than_prepared_are_refused(copy):
    with pytest.raises(ValueError, match='labels of other classes'):
        check(gtav_config(copy, metainfo=dict(classes=('road', 'car'))))
