"""From folders to configs that pass the check of the data and train; what cannot be meant is one line."""

import os
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from cda_mmseg.engine import UDARunner, read_config
from cda_mmseg.inspection import survey
from cda_mmseg.inspection.folders import find_files
from cda_mmseg.inspection.new_pair import crop_of, read_id_map
from cda_mmseg.visualization.run_log import read_run_log
from tests.tool_processes import ROOT

CLASSES = 'road,sky,drone'


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A tiny pair in folders of its own naming, and a copy of the configs to write into."""
    random = np.random.default_rng(0)
    for role, size, number in (('game', (40, 72), 12), ('town', (48, 64), 4), ('town_val', (48, 64), 2)):
        for index in range(number):
            image = tmp_path / role / 'photos' / 'day' / f'{index}_rgb.jpg'
            label = tmp_path / role / 'classes' / 'day' / f'{index}_ids.png'
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), random.integers(0, 256, (*size, 3), dtype=np.uint8))
            if role != 'town':
                cv2.imwrite(str(label), random.integers(0, 3, size, dtype=np.uint8))
    shutil.copytree(ROOT / 'configs' / '_base_', tmp_path / 'configs' / '_base_')
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmseg')
    return tmp_path


def new_pair(*options: str) -> int:
    """Run the tool in this process; return its exit code."""
    folders = ['--source-images', 'game/photos', '--source-labels', 'game/classes', '--target-images', 'town/photos']
    arguments = [
        *folders,
        '--classes',
        CLASSES,
        '--name',
        'my_pair',
        '--configs',
        'configs',
        '--workers',
        '1',
        *options,
    ]
    argv, sys.argv = sys.argv, [str(ROOT / 'tools' / 'new_pair.py'), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as end:
        return end.code
    finally:
        sys.argv = argv
    return 0


VALIDATION = ('--target-val-images', 'town_val/photos', '--target-val-labels', 'town_val/classes')


@pytest.mark.parametrize(('leaf', 'options'), [('source_only', ()), ('self_training', VALIDATION)])
def test_what_it_writes_passes_the_check_and_trains(folders, capsys, leaf, options):
    assert new_pair(*options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('source: 12 images *_rgb.jpg with *_ids.png, 72×40')
    assert any('road 33' in line and 'ignored 0.0%' in line for line in lines)
    assert lines[-1] == '  python tools/train.py configs/self_training_my_pair.py'
    assert (folders / 'work_dirs' / 'my_pair.png').is_file()

    config = read_config(folders / 'configs' / f'{leaf}_my_pair.py')
    assert [finding.message for finding in survey(config).findings] == []
    config.model.backbone.init_cfg = None
    config.work_dir = str(folders / 'run')
    config.train_cfg.update(max_iters=2, val_interval=2)
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False, batch_size=1)
    UDARunner.from_cfg(config).train()
    scores = read_run_log(folders / 'run').validation
    assert 'source/mIoU' in scores and ('target/mIoU' in scores) == bool(options)


def relabel(folders: Path, pixels: np.ndarray) -> None:
    cv2.imwrite(str(folders / 'game' / 'classes' / 'day' / '3_ids.png'), pixels)


def remove(folders: Path, path: str) -> None:
    (folders / 'game' / path).unlink()


FAULTS = {
    'an image without a label': (
        lambda folder: remove(folder, 'classes/day/3_ids.png'),
        '1 of 12 images have no label',
    ),
    'a label without an image': (lambda folder: remove(folder, 'photos/day/3_rgb.jpg'), '1 of 12 labels have no image'),
    'colours': (lambda folder: relabel(folder, np.full((40, 72, 3), 7, np.uint8)), 'coloured visualisation'),
    'ids beyond the classes': (
        lambda folder: relabel(folder, np.full((40, 72), 26, np.uint8)),
        'none of the 3 classes: 26 (100.0%)',
    ),
    'another id': (
        lambda folder: relabel(folder, np.full((40, 72), 3, np.uint8)),
        'Say with --id-map what they are',
    ),
    'binary masks': (
        lambda folder: [
            cv2.imwrite(str(path), np.repeat(np.uint8([[0, 255]]), 20, 0).repeat(36, 1).repeat(2, 0))
            for path in (folder / 'game' / 'classes').rglob('*.png')
        ],
        'labels of 0 and 255 alone. If 255 is sky, say --id-map 0:road,255:sky;',
    ),
    'another size': (lambda folder: relabel(folder, np.zeros((20, 36), np.uint8)), 'the label is 36×20 but its image'),
    'two kinds of images': (
        lambda folder: os.rename(folder / 'town/photos/day/0_rgb.jpg', folder / 'town/photos/day/0_rgb.png'),
        'images of several kinds: 3 *.jpg, 1 *.png',
    ),
    'no such folder': (lambda folder: shutil.rmtree(folder / 'town'), 'There is no folder'),
    'a name that is taken': (
        lambda folder: (folder / 'configs' / 'source_only_my_pair.py').write_text(''),
        'Choose another --name',
    ),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_what_cannot_be_meant_is_one_line(folders, capsys, fault):
    cause, message = FAULTS[fault]
    cause(folders)
    assert new_pair() == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith('new_pair.py: ') and message in errors[0], errors
    assert not list((folders / 'configs').glob('self_training*'))


def test_an_id_map_says_what_ids_are(folders, capsys):
    relabel(folders, np.full((40, 72), 26, np.uint8))
    assert new_pair('--id-map', '0:road,1:sky,2:2,26:ignore') == 0
    config = read_config(folders / 'configs' / 'source_only_my_pair.py')
    assert config.train_dataloader.dataset.pipeline[1].id_map == {0: 0, 1: 1, 2: 2, 26: 255, 255: 255}
    assert new_pair('--id-map', '7:lorry', '--name', 'other') == 1
    assert "'7:lorry' is not ID:CLASS" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"'7:sky' gives the id 7 a second class"):
        read_id_map('7:road,7:sky', ['road', 'sky'])
    assert read_id_map('cityscapes', range(19)) == 'cityscapes'


def test_wrong_arguments_end_with_2(folders, capsys):
    assert new_pair('--target-val-images', 'town') == 2
    assert new_pair('--name', 'a/b') == 2
    assert new_pair('--classes', 'road,road') == 2
    assert new_pair('--workers', '0') == 2


def test_folders_behind_links_count_as_they_do_in_training(folders):
    (folders / 'town' / 'photos' / 'night').symlink_to(folders / 'town_val' / 'photos' / 'day')
    (folders / 'town' / 'photos' / '.7_rgb.jpg').touch()
    found = find_files('town/photos')
    dataset = DATASETS.build(
        dict(type='BaseSegDataset', img_suffix=found.image_suffix, data_prefix=dict(img_path=found.images))
    )
    assert [found.info(name)['img_path'] for name in found.names] == [info['img_path'] for info in dataset]
    assert len(found.names) == 6
    (folders / 'town' / 'photos' / 'round').symlink_to('.')
    with pytest.raises(ValueError, match='a link to a folder that it lies in'):
        find_files('town/photos')


def test_commands_can_be_pasted_whatever_the_folder_is_called(folders, capsys):
    (folders / 'configs').rename(folders / 'my configs')
    assert new_pair('--configs', 'my configs') == 0
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith('  python')]
    assert len(commands) == 3 and all(Path(command[-1]).is_file() for command in commands)


def test_pairing_takes_the_ids_among_several_labels(tmp_path):
    for number in range(3):
        (tmp_path / 'images').mkdir(exist_ok=True)
        (tmp_path / 'labels').mkdir(exist_ok=True)
        (tmp_path / 'images' / f'a_{number}_leftImg8bit.png').touch()
        for kind in ('color', 'instanceIds', 'labelIds', 'labelTrainIds'):
            (tmp_path / 'labels' / f'a_{number}_gtFine_{kind}.png').touch()
    for kinds in (('labelTrainIds', 'labelIds'), ('labelIds',)):
        found = find_files(str(tmp_path / 'images'), str(tmp_path / 'labels'), kinds)
        assert (found.image_suffix, found.label_suffix) == ('_leftImg8bit.png', f'_gtFine_{kinds[0]}.png')
        assert found.names == ['a_0', 'a_1', 'a_2']


@pytest.mark.parametrize(
    ('sizes', 'chosen'),
    [
        ([(256, 144), (256, 192)], (False, (128, 256))),
        ([(1914, 1052), (2048, 1024)], (True, (512, 1024))),
        ([(72, 40)], (False, (32, 64))),
    ],
)
def test_crops_fit_all_images(sizes, chosen):
    assert crop_of(sizes) == chosen


def test_images_of_a_few_pixels_are_refused():
    with pytest.raises(ValueError, match='at least 32'):
        crop_of([(72, 40), (20, 20)])
