"""Copies of real files: the same samples as from the raw ones, whatever happened on the way."""

import os
import shutil
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS
from PIL import Image

from cda_mmseg.datasets.label_ids import CITYSCAPES_IDS
from cda_mmseg.datasets.preparation import check_prepared_copy, prepare, read_record, verify
from cda_mmseg.datasets.preparation.record import FILES, alone
from tests.forked_processes import start_process

from .conftest import SIZE, WIDTH, gtav_config
from .processes import prepare_and_die, prepare_with_small_files

ROOT = Path(__file__).resolve().parents[3]
OPENED = []


def config_of(name, loader, root):
    """The training data of a shipped config, at the size of the small worlds."""
    config = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / name)[loader].dataset.to_dict()
    for step in config['pipeline']:
        if step['type'] == 'Resize':
            step['scale'] = (WIDTH, WIDTH)
        elif step['type'] == 'RandomCrop':
            step['crop_size'] = (24, 48)
    return dict(config, data_root=str(root), serialize_data=False)


def samples(config):
    dataset = DATASETS.build(config)
    for index in range(len(dataset)):
        np.random.seed(index)
        yield dataset[index]


def assert_same_samples(config, copy):
    pairs = list(zip(samples(config), samples(copy), strict=True))
    assert pairs
    for raw, prepared in pairs:
        assert torch.equal(raw['inputs'], prepared['inputs'])
        labels = [sample['data_samples'].get('gt_sem_seg') for sample in (raw, prepared)]
        assert (labels[0] is None) == (labels[1] is None)
        assert labels[0] is None or torch.equal(labels[0].data, labels[1].data)


def quietly(line):
    pass


def tree(folder):
    """All files of a copy with their content; the list of files in no order."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob('*') if path.is_file()}
    files[FILES] = sorted(files[FILES].splitlines())
    return files


@pytest.mark.parametrize(
    ('name', 'loader', 'root'),
    [
        ('gtav_to_cityscapes.py', 'train_dataloader', 'gta2city/gtav'),
        ('synthia_to_cityscapes.py', 'train_dataloader', 'synthia2city/synthia/RAND_CITYSCAPES'),
        ('gtav_to_cityscapes.py', 'target_dataloader', 'gta2city/cityscapes'),
    ],
)
def test_training_from_a_copy_sees_the_very_samples_of_the_raw_files(worlds, tmp_path, name, loader, root):
    config = config_of(name, loader, worlds / root)
    outcome = prepare(config, str(tmp_path / 'copy'), labels=loader == 'train_dataloader', report=quietly)
    # One changed key is all that training needs.
    assert outcome.options == dict(data_root=str(tmp_path / 'copy'))
    assert outcome.sizes == {'64×35': outcome.pairs} and outcome.written == outcome.pairs > 0
    copy = {**config, **outcome.options}
    assert_same_samples(config, copy)
    check_prepared_copy(DATASETS.build(copy), copy, 'train_dataloader.dataset')
    assert verify(str(tmp_path / 'copy')) == []


def test_the_files_hold_what_opencv_makes_of_the_raw_ones(gtav, tmp_path):
    labels = Image.open(gtav / 'labels' / '00002.png')  # some labels of the download lack rows
    labels.crop((0, 0, SIZE[0] - 2, SIZE[1] - 5)).save(gtav / 'labels' / '00002.png')
    prepare(gtav_config(gtav), str(tmp_path / 'copy'), report=quietly)
    for path in sorted((gtav / 'images').iterdir()):
        expected = cv2.resize(cv2.imread(str(path)), (64, 35), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(cv2.imread(str(tmp_path / 'copy' / 'images' / path.name)), expected)
        ids = np.full(SIZE[::-1], 255, np.uint8)
        raw = np.asarray(Image.open(gtav / 'labels' / path.name))
        ids[: raw.shape[0], : raw.shape[1]] = raw
        expected = cv2.resize(ids, (64, 35), interpolation=cv2.INTER_NEAREST)
        found = np.asarray(Image.open(tmp_path / 'copy' / 'labels' / path.name))
        train_ids = np.array([CITYSCAPES_IDS.get(label_id, 254) for label_id in range(256)])
        assert np.array_equal(train_ids[found], train_ids[expected])


def test_own_data_with_jpegs_a_list_of_names_and_renumbered_classes(gtav, tmp_path):
    root = tmp_path / 'own'
    (root / 'labels').mkdir(parents=True)
    (root / 'pictures').mkdir()
    stems = [path.stem for path in sorted((gtav / 'images').iterdir())]
    for stem in stems:
        cv2.imwrite(str(root / 'pictures' / f'{stem}_rgb.jpg'), cv2.imread(str(gtav / 'images' / f'{stem}.png')))
        classes = np.random.default_rng(int(stem)).integers(0, 5, SIZE[::-1], dtype=np.uint8)
        Image.fromarray(classes).save(root / 'labels' / f'{stem}_classes.png')
    (root / 'names.txt').write_text('\n'.join(stems[1:4]) + '\n')
    config = dict(
        type='ADE20KDataset',  # has reduce_zero_label
        metainfo=dict(classes=('sky', 'wall', 'building')),
        ann_file='names.txt',
        serialize_data=False,
        img_suffix='_rgb.jpg',
        seg_map_suffix='_classes.png',
        data_root=str(root),
        data_prefix=dict(img_path='pictures', seg_map_path='labels'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), *gtav_config(gtav)['pipeline'][2:]],
    )
    config = {key: value for key, value in config.items() if 'suffix' not in key} | dict(type='OwnNames')

    @DATASETS.register_module(force=True)
    class OwnNames(DATASETS.get('ADE20KDataset')):
        def __init__(self, img_suffix='_rgb.jpg', seg_map_suffix='_classes.png', **arguments):
            super(DATASETS.get('ADE20KDataset'), self).__init__(
                img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, reduce_zero_label=True, **arguments
            )

    outcome = prepare(config, str(tmp_path / 'copy'), report=quietly)
    assert outcome.options == dict(data_root=str(tmp_path / 'copy'), img_suffix='_rgb.png')
    assert outcome.pairs == 3
    copy = {**config, **outcome.options}
    assert_same_samples(config, copy)
    other = {**copy, 'metainfo': dict(classes=('wall', 'building', 'sky'))}
    with pytest.raises(ValueError, match='labels of other classes'):
        check_prepared_copy(DATASETS.build(other), other, 'train_dataloader.dataset')


def test_lossy_copies_change_images_and_no_label(gtav, tmp_path):
    config = gtav_config(gtav)
    outcome = prepare(config, str(tmp_path / 'copy'), image_format='jpg', quality=90, report=quietly)
    assert outcome.options == dict(data_root=str(tmp_path / 'copy'), img_suffix='.jpg')
    lossless = prepare(config, str(tmp_path / 'lossless'), report=quietly)
    assert outcome.bytes < lossless.bytes
    for raw, prepared in zip(samples(config), samples({**config, **outcome.options}), strict=True):
        assert torch.equal(raw['data_samples'].gt_sem_seg.data, prepared['data_samples'].gt_sem_seg.data)
        difference = (raw['inputs'].float() - prepared['inputs'].float()).abs().mean()
        assert 0 < difference < 20


def test_every_choice_among_the_pairs_is_left_to_training(gtav, tmp_path):
    config = gtav_config(gtav, holdout=True, monitor_size=2, indices=2)
    outcome = prepare(config, str(tmp_path / 'copy'), report=quietly)
    assert outcome.pairs == 7
    assert_same_samples(config, {**config, **outcome.options})
    config.pop('indices')
    assert_same_samples(config, {**config, **outcome.options})


def record_opened(event, arguments):
    if event == 'open':
        OPENED.append(str(arguments[0]))


def test_labels_of_the_target_are_never_opened(worlds, tmp_path):
    target = shutil.copytree(worlds / 'gta2city' / 'cityscapes', tmp_path / 'city')
    config = config_of('gtav_to_cityscapes.py', 'target_dataloader', target)
    # Even a config that would read labels.
    config['data_prefix']['seg_map_path'] = 'gtFine/train'
    config['pipeline'].insert(1, dict(type='LoadLabelIds'))
    for image in sorted((target / 'leftImg8bit' / 'train').rglob('*.png')):
        label = str(image).replace('leftImg8bit/train', 'gtFine/train')
        os.makedirs(label.replace('_leftImg8bit.png', '_gtFine_labelTrainIds.png'))  # to open it fails
    sys.addaudithook(record_opened)
    outcome = prepare(config, str(tmp_path / 'copy'), labels=False, report=quietly)
    assert outcome.pairs == 5 and not outcome.problems
    assert len([path for path in OPENED if path.startswith(str(target / 'leftImg8bit'))]) >= 5
    assert [path for path in OPENED if 'gtFine' in path] == []
    assert not (tmp_path / 'copy' / 'gtFine').exists()


@pytest.mark.parametrize(
    ('event', 'ending', 'count', 'complete'),
    [
        ('open', 'images/00003.png.incomplete', 1, 2),  # nothing in it yet
        ('open', 'images/00003.png.incomplete', 2, 2),  # written, about to be read back
        ('os.rename', 'labels/00003.png.incomplete', 1, 2),
        ('os.rename', 'images/00003.png.incomplete', 1, 2),  # its label has its name already
        ('os.rename', 'prepared.json.incomplete', 2, 7),  # all files there, not yet declared complete
    ],
)
def test_a_kill_at_any_moment_loses_at_most_one_pair(gtav, tmp_path, event, ending, count, complete):
    config, out = gtav_config(gtav), str(tmp_path / 'copy')
    prepare(config, str(tmp_path / 'whole'), report=quietly)
    process = start_process(prepare_and_die, config, out, event, ending, count)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    copy = {**config, 'data_root': out}
    with pytest.raises(ValueError, match='never finished'):
        check_prepared_copy(DATASETS.build(dict(copy, lazy_init=True)), copy, 'train_dataloader.dataset')
    with pytest.raises(ValueError, match='never finished'):
        verify(out)
    assert prepare(config, out, report=quietly).written == 7 - complete
    assert tree(out) == tree(tmp_path / 'whole')
    assert prepare(config, out, report=quietly).written == 0


def test_a_list_that_a_kill_cut_goes_on_where_it_is_whole(gtav, tmp_path):
    config, out = gtav_config(gtav), tmp_path / 'copy'
    prepare(config, str(out), report=quietly)
    whole, listing = tree(out), (out / FILES).read_bytes()
    lines = listing.splitlines(keepends=True)
    for cut in (0, 1, len(lines[0]), len(lines[0] + lines[1]) + 7, len(listing) - 1):
        (out / FILES).write_bytes(listing[:cut])
        pairs = listing[:cut].count(b'\n') // 2
        assert prepare(config, str(out), report=quietly).written == 7 - pairs
        assert set(tree(out)[FILES]) == set(whole[FILES]) and verify(str(out)) == []


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda path: path.unlink(), 'No such file'),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), 'bytes instead of'),
        (lambda path: path.write_bytes(path.read_bytes()[:-20] + b'x' + path.read_bytes()[-19:]), 'content'),
    ],
)
def test_verify_names_what_changed_and_preparing_again_repairs_it(gtav, tmp_path, damage, message):
    config, out = gtav_config(gtav), tmp_path / 'copy'
    prepare(config, str(out), report=quietly)
    before = tree(out)
    damaged = out / 'labels' / '00004.png'
    damage(damaged)
    [problem] = verify(str(out), workers=2)
    assert problem.startswith('labels/00004.png: ') and message in problem
    damaged.unlink(missing_ok=True)
    assert prepare(config, str(out), report=quietly).written == 1
    assert verify(str(out)) == []
    assert tree(out).keys() == before.keys() and damaged.read_bytes() == before['labels/00004.png']


def test_damaged_files_are_named_and_the_rest_is_copied(gtav, tmp_path):
    config, out = gtav_config(gtav), str(tmp_path / 'copy')
    image, label = gtav / 'images' / '00002.png', gtav / 'labels' / '00005.png'
    whole = image.read_bytes(), label.read_bytes()
    image.write_bytes(whole[0][:1000])
    label.write_bytes(b'')
    outcome = prepare(config, out, report=quietly)
    assert outcome.written == 5
    first, second = outcome.problems
    assert str(image) in first and 'fetch it again' in first
    assert str(label) in second and 'fetch it again' in second
    assert read_record(out)['complete'] is False
    image.write_bytes(whole[0])
    label.write_bytes(whole[1])
    outcome = prepare(config, out, report=quietly)
    assert outcome.written == 2 and not outcome.problems
    assert_same_samples(config, {**config, **outcome.options})


def test_a_disk_that_gets_full_stops_it_and_leaves_nothing_half_written(gtav, tmp_path):
    config, out = gtav_config(gtav), tmp_path / 'copy'
    process = start_process(prepare_with_small_files, config, str(out), str(tmp_path / 'message'))
    process.join(60)
    message = (tmp_path / 'message').read_text()
    assert 'copy/images/00001.png' in message and 'File too large' in message and 'goes on' in message
    assert list((out / 'images').iterdir()) == []
    assert prepare(config, str(out), report=quietly).written == 7


def test_a_disk_without_room_is_refused_before_the_first_file(gtav, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(sys.modules[prepare.__module__], 'DISK_MARGIN', 1e15)
    with pytest.raises(OSError, match=r'needs about .* GB, but .* GB are free'):
        prepare(gtav_config(gtav), str(tmp_path / 'copy'), report=lines.append)
    assert '7 of 7 pairs to write' in lines[0]
    assert not (tmp_path / 'copy' / 'images').exists()


def test_the_projected_size_is_that_of_the_copy(gtav, tmp_path):
    lines = []
    outcome = prepare(gtav_config(gtav), str(tmp_path / 'copy'), report=lines.append)
    projected = float(lines[0].split('about ')[1].split(' GB')[0]) * 1e9
    assert outcome.bytes == pytest.approx(projected, rel=0.1)
    files = [path for path in (tmp_path / 'copy').rglob('*.png')]
    assert sum(path.stat().st_size for path in files) == outcome.bytes


def test_two_runs_do_not_write_one_copy(gtav, tmp_path, monkeypatch):
    monkeypatch.setattr('cda_mmseg.datasets.preparation.record.WAIT_FOR_LOCK', 0.3)
    (tmp_path / 'copy').mkdir()
    with alone(str(tmp_path / 'copy')), pytest.raises(BlockingIOError, match='another process is preparing'):
        prepare(gtav_config(gtav), str(tmp_path / 'copy'), report=quietly)


def test_other_arguments_need_another_folder(gtav, tmp_path):
    config, out = gtav_config(gtav), str(tmp_path / 'copy')
    prepare(config, out, report=quietly)
    before = tree(out)
    other = gtav_config(gtav)
    other['pipeline'][2] = dict(type='Resize', scale=(32, 32), keep_ratio=True)
    with pytest.raises(FileExistsError, match=r'other arguments .*steps'):
        prepare(other, out, report=quietly)
    with pytest.raises(FileExistsError, match='format: png → jpg'):
        prepare(config, out, image_format='jpg', report=quietly)
    with pytest.raises(FileExistsError, match='no prepared copy'):
        prepare(config, str(tmp_path), report=quietly)
    assert tree(out) == before


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(part='monitor'), "prepare part='train'"),
        (dict(data_prefix=dict(img_path='../gtav/images', seg_map_path='labels/../../x')), r'no folder|leads out'),
        (dict(type='ConcatDataset'), 'no single data set'),
    ],
)
def test_data_sets_that_cannot_be_prepared(gtav, tmp_path, changes, message):
    config = gtav_config(gtav, **changes)
    if config['type'] == 'ConcatDataset':
        config = dict(type='ConcatDataset', datasets=[gtav_config(gtav)], pipeline=[])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare(config, str(tmp_path / 'copy'), report=quietly)
    assert not (tmp_path / 'copy').exists()


def test_a_copy_among_the_files_of_the_source_is_refused(gtav):
    with pytest.raises(ValueError, match='among the files of the source'):
        prepare(gtav_config(gtav), str(gtav / 'images' / 'copy'), report=quietly)


@pytest.mark.parametrize('arguments', [dict(image_format='bmp'), dict(quality=0), dict(workers=-1)])
def test_bad_arguments(gtav, tmp_path, arguments):
    with pytest.raises(ValueError, match='must be'):
        prepare(gtav_config(gtav), str(tmp_path / 'copy'), **arguments)


def test_labels_that_all_have_another_encoding_stop_it_at_once(gtav, tmp_path):
    config = gtav_config(gtav)
    config['pipeline'][1] = dict(type='LoadLabelIds', encoding='red16', id_map='synthia')
    for number in range(8, 20):
        for folder in ('images', 'labels'):
            shutil.copy(gtav / folder / '00001.png', gtav / folder / f'{number:05d}.png')
    with pytest.raises(ValueError, match=r'none of 8 sampled pairs.*red16'):
        prepare(config, str(tmp_path / 'copy'), report=quietly)
