import shutil

import pytest

from cda_mmseg.datasets.worlds import write_world

SIZE = (150, 82)
WIDTH = 64


@pytest.fixture(scope='session')
def worlds(tmp_path_factory):
    """Small worlds at a size that is no multiple of the training size; nothing may be written into them."""
    folder = tmp_path_factory.mktemp('preparation_worlds')
    for pair in ('gta2city', 'synthia2city'):
        write_world(folder / pair, pair, size=SIZE, source=7, target_train=5, target_val=1)
    return folder


@pytest.fixture
def gtav(worlds, tmp_path):
    """GTAV of the first world, free to be damaged."""
    return shutil.copytree(worlds / 'gta2city' / 'gtav', tmp_path / 'gtav')


def gtav_config(root, **changes):
    return dict(
        dict(
            type='GTAVDataset',
            data_root=str(root),
            serialize_data=False,  # it collects garbage, which takes a second in a process full of modules
            pipeline=[
                dict(type='LoadImage'),
                dict(type='LoadLabelIds', encoding='index', id_map='cityscapes'),
                dict(type='Resize', scale=(WIDTH, WIDTH), keep_ratio=True),
                dict(type='RandomCrop', crop_size=(24, 48)),
                dict(type='RandomFlip', prob=0.5),
                dict(type='PackSegInputs'),
            ],
        ),
        **changes,
    )
