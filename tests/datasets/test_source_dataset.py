import hashlib
import logging
import shutil

import pytest
from mmengine.dataset import ConcatDataset
from mmengine.logging import MMLogger
from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from cda_mmseg.datasets.gtav import GTAVDataset
from cda_mmseg.datasets.source_dataset import monitor_sample
from cda_mmseg.datasets.synthia import SynthiaDataset
from cda_mmseg.datasets.urbansyn import UrbanSynDataset


def touch(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def gtav(tmp_path):
    names = [f'{number:05d}.png' for number in [*range(1, 41), 15187, 15188, 17705, 20801, 20860, 20861]]
    touch(tmp_path / 'images', names)
    touch(tmp_path / 'labels', names)
    return tmp_path


@pytest.fixture
def synthia(tmp_path):
    names = [f'{number:07d}.png' for number in [*range(8), 6371, 6372]]
    touch(tmp_path / 'RAND_CITYSCAPES' / 'RGB', names)
    touch(tmp_path / 'RAND_CITYSCAPES' / 'GT' / 'LABELS', names)
    return tmp_path / 'RAND_CITYSCAPES'


@pytest.fixture
def log():
    """What mmengine's current logger says meanwhile."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def stems(dataset):
    return [dataset.get_data_info(index)['img_path'].rsplit('/', 1)[1][:-4] for index in range(len(dataset))]


def test_gtav_layout(gtav):
    dataset = DATASETS.build(dict(type='GTAVDataset', data_root=str(gtav)))
    expected = [f'{number:05d}' for number in [*range(1, 41), 15187, 20801, 20860, 20861]]
    assert stems(dataset) == expected
    info = dataset.get_data_info(0)
    assert info['img_path'] == str(gtav / 'images' / '00001.png')
    assert info['seg_map_path'] == str(gtav / 'labels' / '00001.png')
    assert info['seg_fields'] == []
    assert info['reduce_zero_label'] is False


def test_a_split_file_chooses_images(gtav):
    (gtav / 'split.txt').write_text('00003\n15188\n00001\n')
    dataset = DATASETS.build(dict(type='GTAVDataset', data_root=str(gtav), ann_file='split.txt'))
    assert stems(dataset) == ['00001', '00003']  # 15188 is a broken pair


def test_the_root_may_stand_in_the_prefixes(gtav):
    prefixes = dict(img_path=str(gtav / 'images'), seg_map_path=str(gtav / 'labels'))
    dataset = GTAVDataset(data_prefix=prefixes, reduce_zero_label=True)
    assert stems(dataset) == stems(GTAVDataset(str(gtav)))
    assert dataset.get_data_info(0)['reduce_zero_label'] is True
    with pytest.raises(FileNotFoundError, match=r'GTAVDataset: no folder nowhere. Expected layout:\n├──'):
        GTAVDataset(data_prefix=dict(prefixes, img_path='nowhere'))


def test_synthia_layout(synthia):
    dataset = DATASETS.build(dict(type='SynthiaDataset', data_root=str(synthia)))
    assert stems(dataset) == [f'{number:07d}' for number in [*range(8), 6371]]
    info = dataset.get_data_info(8)
    assert info['img_path'] == str(synthia / 'RGB' / '0006371.png')
    assert info['seg_map_path'] == str(synthia / 'GT' / 'LABELS' / '0006371.png')


def test_urbansyn_layout(tmp_path):
    touch(tmp_path / 'rgb', ['rgb_0001.png', 'rgb_0002.png', 'cover.png'])
    touch(tmp_path / 'ss', ['ss_0001.png', 'ss_0002.png'])
    dataset = DATASETS.build(dict(type='UrbanSynDataset', data_root=str(tmp_path)))
    assert stems(dataset) == ['rgb_0001', 'rgb_0002']
    assert dataset.get_data_info(1)['seg_map_path'] == str(tmp_path / 'ss' / 'ss_0002.png')
    (tmp_path / 'ss' / 'ss_0002.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 2 images have no label in .*: rgb_0002\.png\. Expected'):
        DATASETS.build(dict(type='UrbanSynDataset', data_root=str(tmp_path)))


@pytest.mark.parametrize('kind', [GTAVDataset, SynthiaDataset, UrbanSynDataset])
def test_classes_are_those_of_cityscapes(kind):
    assert kind.METAINFO == CityscapesDataset.METAINFO
    assert len(kind.METAINFO['classes']) == 19


def test_known_defects_are_reported_once(gtav, log):
    GTAVDataset(data_root=str(gtav), part='train')
    GTAVDataset(data_root=str(gtav), part='monitor')
    assert sum('15188, 17705' in line for line in log) == 1
    assert sum('2 frames between 20801 and 20860 have an odd size' in line for line in log) == 1


def test_void_frame_is_reported_once(synthia, log):
    SynthiaDataset(data_root=str(synthia), part='train')
    SynthiaDataset(data_root=str(synthia), part='monitor')
    assert sum('0006372' in line for line in log) == 1


def test_exclude_can_be_emptied_and_replaced(gtav):
    assert {'15188', '17705'} <= set(stems(GTAVDataset(data_root=str(gtav), exclude=())))
    assert '00001' not in stems(GTAVDataset(data_root=str(gtav), exclude=('00001',)))


def test_excluded_images_need_no_label(gtav):
    (gtav / 'labels' / '15188.png').unlink()
    assert '15188' not in stems(GTAVDataset(data_root=str(gtav)))


def test_monitor_sample_is_fixed_by_names():
    names = {f'{number:05d}' for number in range(1, 3001)}
    sample = monitor_sample(names, 500)
    assert len(sample) == 500
    assert monitor_sample(set(sorted(names, reverse=True)), 500) == sample
    # The definition, once more: everything inside has a smaller digest than everything outside.
    digest = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    assert max(digest[name] for name in sample) < min(digest[name] for name in names - sample)
    # One more file changes at most one member.
    assert len(monitor_sample(names | {'99999'}, 500) - sample) <= 1
    # Pinned, because a published score refers to it.
    assert sorted(sample)[:4] == ['00009', '00014', '00015', '00044']


@pytest.mark.parametrize('count, size, expected', [(400, 500, 100), (2000, 500, 500), (3, 500, 1), (400, 7, 7)])
def test_monitor_sample_takes_at_most_a_quarter(count, size, expected):
    assert len(monitor_sample({str(number) for number in range(count)}, size)) == expected


def test_monitor_part_is_seen_by_default_and_removed_by_holdout(gtav):
    everything = stems(GTAVDataset(data_root=str(gtav)))
    monitor = GTAVDataset(data_root=str(gtav), part='monitor', monitor_size=5)
    assert set(stems(monitor)) < set(everything)
    assert monitor.metainfo['source_part'] == dict(part='monitor', seen_in_training=True)
    held = GTAVDataset(data_root=str(gtav), part='monitor', monitor_size=5, holdout=True)
    training = GTAVDataset(data_root=str(gtav), monitor_size=5, holdout=True)
    assert stems(held) == stems(monitor)
    assert held.metainfo['source_part']['seen_in_training'] is False
    assert set(stems(training)) == set(everything) - set(stems(held))
    assert training.metainfo['source_part'] == dict(part='train', seen_in_training=True)


def test_joins_with_cityscapes_for_validation(gtav, tmp_path):
    touch(tmp_path / 'leftImg8bit', ['a_leftImg8bit.png'])
    target = CityscapesDataset(data_root=str(tmp_path), data_prefix=dict(img_path='leftImg8bit'))
    source = GTAVDataset(data_root=str(gtav), part='monitor')
    both = ConcatDataset([source, target], ignore_keys='source_part')
    assert len(both) == len(source) + 1
    assert both.metainfo['source_part']['seen_in_training'] is True


def test_class_subset(gtav):
    dataset = GTAVDataset(data_root=str(gtav), metainfo=dict(classes=('road', 'car')))
    label_map = dataset.get_data_info(0)['label_map']
    assert (label_map[0], label_map[13], label_map[1]) == (0, 1, 255)
    assert dataset.metainfo['palette'] == [[128, 64, 128], [0, 0, 142]]


def test_indices_and_own_prefix(gtav):
    shutil.move(gtav / 'images', gtav / 'pictures')
    prefix = dict(img_path='pictures', seg_map_path='labels')
    assert stems(GTAVDataset(data_root=str(gtav), data_prefix=prefix, indices=3)) == ['00001', '00002', '00003']


def test_missing_folders_show_the_expected_tree(gtav, synthia):
    with pytest.raises(
        FileNotFoundError, match=r'no folder .*nowhere/images.*\n.*nowhere/\n.*images/00001\.png'
    ) as error:
        GTAVDataset(data_root=str(gtav / 'nowhere'))
    assert 'labels/00001.png' in str(error.value)
    shutil.rmtree(synthia / 'GT')
    with pytest.raises(FileNotFoundError, match=r'SynthiaDataset: no folder .*GT/LABELS[\s\S]*RGB/0000000\.png'):
        SynthiaDataset(data_root=str(synthia))


def test_empty_folder(tmp_path):
    touch(tmp_path / 'images', ['notes.txt', '1.jpg'])
    touch(tmp_path / 'labels', [])
    with pytest.raises(ValueError, match=r'GTAVDataset: no \*\.png image in .*images'):
        GTAVDataset(data_root=str(tmp_path))


def test_images_without_label_are_counted_and_named(gtav):
    for number in range(1, 9):
        (gtav / 'labels' / f'{number:05d}.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'8 of 44 images have no label .*: 00001\.png, .*00005\.png, …'):
        GTAVDataset(data_root=str(gtav))


def test_everything_excluded(tmp_path):
    touch(tmp_path / 'images', ['15188.png'])
    touch(tmp_path / 'labels', ['15188.png'])
    with pytest.raises(ValueError, match=r'every image .* is excluded'):
        GTAVDataset(data_root=str(tmp_path))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(part='val'), "part must be 'train' or 'monitor', got 'val'"),
        (dict(monitor_size=0), 'monitor_size must be at least 1'),
        (dict(data_prefix=dict(img_path='images')), r"data_prefix lacks \['seg_map_path'\]"),
    ],
)
def test_bad_arguments(gtav, arguments, message):
    with pytest.raises(ValueError, match=message):
        GTAVDataset(data_root=str(gtav), **arguments)
