import hashlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from cda_mmseg.datasets.label_ids import CITYSCAPES_IDS, SYNTHIA_IDS
from cda_mmseg.datasets.worlds import PAIRS, write_world
from cda_mmseg.datasets.worlds.scene import Material

SIZE = (96, 48)
COUNTS = dict(source=5, target_train=4, target_val=3)
TOOL = Path(__file__).resolve().parents[3] / 'tools' / 'make_worlds.py'


def write(folder, pair='gta2city', **arguments):
    return write_world(folder, **{**dict(pair=pair, size=SIZE, **COUNTS), **arguments})


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def worlds(tmp_path_factory):
    """One small world of each pair."""
    root = tmp_path_factory.mktemp('worlds')
    for pair in PAIRS:
        write(root / pair, pair)
    return root


def train_ids(domain, split, index, seed=0):
    """Ground truth straight from the generator."""
    labels = domain.sample(seed, split, index, SIZE)[1]
    expected = np.vectorize(lambda label_id: CITYSCAPES_IDS[label_id])(labels.ids).astype(np.uint8)
    if domain.layout.folder == 'synthia':  # SYNTHIA keeps lane markings apart from the road
        expected[labels.materials == Material.MARKING] = 255
    return expected


def build(type_, root, pipeline, **arguments):
    init_default_scope('mmseg')
    return DATASETS.build(dict(type=type_, data_root=str(root), pipeline=pipeline, **arguments))


INDEX = [dict(type='LoadImage'), dict(type='LoadLabelIds')]
URBANSYN = [dict(type='LoadImage'), dict(type='LoadLabelIds', id_map='urbansyn')]
RED16 = [dict(type='LoadImage'), dict(type='LoadLabelIds', encoding='red16', id_map='synthia')]


@pytest.mark.parametrize(
    'pair, type_, folder, pipeline',
    [
        ('gta2city', 'GTAVDataset', 'gtav', INDEX),
        ('appearance', 'GTAVDataset', 'gtav', INDEX),
        ('synthia2city', 'SynthiaDataset', 'synthia/RAND_CITYSCAPES', RED16),
        ('urbansyn2city', 'UrbanSynDataset', 'urbansyn', URBANSYN),
    ],
)
def test_source_round_trip(worlds, pair, type_, folder, pipeline):
    dataset = build(type_, worlds / pair / folder, pipeline)
    assert len(dataset) == COUNTS['source']
    for index in range(len(dataset)):
        picture, _ = PAIRS[pair].source.sample(0, 'train', index, SIZE)
        results = dataset[index]
        assert np.array_equal(results['img'], picture)
        assert np.array_equal(results['gt_seg_map'], train_ids(PAIRS[pair].source, 'train', index))


def test_target_round_trip(worlds):
    dataset = build(
        'CityscapesDataset',
        worlds / 'gta2city' / 'cityscapes',
        INDEX,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        seg_map_suffix='_gtFine_labelIds.png',
    )
    assert len(dataset) == COUNTS['target_val']
    target = PAIRS['gta2city'].target
    found = sorted(dataset[index]['gt_seg_map'].tobytes() for index in range(3))
    assert found == sorted(train_ids(target, 'val', index).tobytes() for index in range(3))


@pytest.mark.parametrize('pair, root', [('city2darkzurich', 'dark_zurich'), ('city2acdc', 'acdc')])
def test_train_ids_round_trip(worlds, pair, root):
    pipeline = [dict(type='LoadImage'), dict(type='LoadLabelIds', id_map='train_ids')]
    found = []
    for condition in ('night',) if root == 'dark_zurich' else ('fog', 'night', 'rain'):
        place = f'val/{condition}' if root == 'dark_zurich' else f'{condition}/val'
        prefix = dict(img_path=f'rgb_anon/{place}', seg_map_path=f'gt/{place}')
        dataset = build('DarkZurichDataset', worlds / pair / root, pipeline, data_prefix=prefix)
        found += [dataset[index]['gt_seg_map'].tobytes() for index in range(len(dataset))]
    target = PAIRS[pair].target
    assert sorted(found) == sorted(train_ids(target, 'val', index).tobytes() for index in range(3))


def test_loveda_has_its_own_classes(worlds):
    data_prefix = dict(img_path='Train/Rural/images_png', seg_map_path='Train/Rural/masks_png')
    pipeline = [dict(type='LoadImage'), dict(type='LoadAnnotations')]
    dataset = build('LoveDADataset', worlds / 'rural2urban' / 'loveda', pipeline, data_prefix=data_prefix)
    labels = PAIRS['rural2urban'].source.sample(0, 'train', 3, SIZE)[1].ids
    read = dataset[3]['gt_seg_map']
    assert len(dataset) == COUNTS['source'] and dataset.metainfo['classes'][2] == 'road'
    assert np.array_equal(read == 2, labels == 7) and np.array_equal(read == 1, labels == 11)
    assert np.array_equal(read == 255, labels == 1)


def test_official_layouts(worlds):
    names = sorted(digests(worlds / 'gta2city'))
    assert 'gtav/images/00001.png' in names
    assert 'gtav/labels/00005.png' in names
    assert 'cityscapes/leftImg8bit/train/altstadt/altstadt_000000_000019_leftImg8bit.png' in names
    assert 'cityscapes/leftImg8bit/val/talbach/talbach_000001_000019_leftImg8bit.png' in names
    assert 'cityscapes/gtFine/val/talbach/talbach_000001_000019_gtFine_labelIds.png' in names
    assert not any(name.startswith('cityscapes/gtFine/train') for name in names)
    assert len(names) == 1 + 2 * COUNTS['source'] + COUNTS['target_train'] + 2 * COUNTS['target_val']
    assert 'synthia/RAND_CITYSCAPES/GT/LABELS/0000000.png' in digests(worlds / 'synthia2city')
    assert digests(worlds / 'urbansyn2city').keys() >= {'urbansyn/rgb/rgb_0001.png', 'urbansyn/ss/ss_0005.png'}
    assert digests(worlds / 'city2darkzurich').keys() >= {
        'cityscapes/gtFine/train/altstadt/altstadt_000000_000019_gtFine_labelIds.png',
        'dark_zurich/rgb_anon/train/night/GOPR0345/GOPR0345_frame_000001_rgb_anon.png',
        'dark_zurich/gt/val/night/GOPR0356/GOPR0356_frame_000003_gt_labelTrainIds.png',
    }
    assert 'acdc/gt/rain/val/GP010122/GP010122_frame_000003_gt_labelTrainIds.png' in digests(worlds / 'city2acdc')
    assert 'loveda/Val/Urban/masks_png/2.png' in digests(worlds / 'rural2urban')


def test_official_encodings(worlds):
    with Image.open(worlds / 'gta2city/gtav/labels/00001.png') as label:
        assert label.mode == 'P'
        assert label.getpalette()[7 * 3 : 7 * 3 + 3] == [128, 64, 128]
        assert set(np.unique(np.array(label))) <= set(CITYSCAPES_IDS)
    data = (worlds / 'synthia2city/synthia/RAND_CITYSCAPES/GT/LABELS/0000001.png').read_bytes()
    assert tuple(data[24:26]) == (16, 2)  # bit depth, colour type of the PNG header
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.dtype == np.uint16
    assert set(np.unique(pixels[:, :, 2])) <= set(SYNTHIA_IDS)
    assert 22 in pixels[:, :, 2]
    cars = pixels[:, :, 2] == 8
    assert cars.any()
    assert pixels[cars, 1].min() > 0  # instances, in the second channel
    assert (pixels[:, :, 0] == 0).all()
    raw = next((worlds / 'gta2city/cityscapes/gtFine').rglob('*.png'))
    assert tuple(raw.read_bytes()[24:26]) == (8, 0)


def test_files_do_not_depend_on_the_number_of_workers(worlds, tmp_path):
    write(tmp_path / 'again', 'synthia2city', workers=2)
    assert digests(tmp_path / 'again') == digests(worlds / 'synthia2city')


def test_a_larger_world_begins_with_the_smaller_one(worlds, tmp_path):
    write(tmp_path / 'large', source=7, target_val=4)
    small, large = digests(worlds / 'gta2city'), digests(tmp_path / 'large')
    assert small.items() - large.items() == {('world.json', small['world.json'])}


def test_seeds_give_other_worlds(worlds, tmp_path):
    write(tmp_path / 'other', seed=1)
    first, second = digests(worlds / 'gta2city'), digests(tmp_path / 'other')
    assert first.keys() == second.keys()
    assert not first.items() & second.items()


def test_second_call_does_nothing(tmp_path):
    assert write(tmp_path / 'world')
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    assert not write(tmp_path / 'world', workers=2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


def test_other_arguments_are_refused_unless_overwritten(tmp_path):
    write(tmp_path / 'world')
    with pytest.raises(ValueError, match=r'world holds a world made with other arguments \(source 5 → 6, seed 0 → 3\)'):
        write(tmp_path / 'world', source=6, seed=3)
    assert write(tmp_path / 'world', source=6, seed=3, overwrite=True)
    assert json.loads((tmp_path / 'world' / 'world.json').read_text())['source'] == 6
    assert len(list((tmp_path / 'world' / 'gtav' / 'images').iterdir())) == 6


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'holiday.jpg').touch()
    with pytest.raises(FileExistsError, match='photos exists and is no built-in world'):
        write(tmp_path / 'photos', overwrite=True)
    assert (tmp_path / 'photos' / 'holiday.jpg').exists()


def test_damaged_manifest_is_named(tmp_path):
    (tmp_path / 'world').mkdir()
    (tmp_path / 'world' / 'world.json').write_text('{')
    with pytest.raises(ValueError, match=r'world\.json: not a readable manifest'):
        write(tmp_path / 'world')


def test_interrupted_world_is_written_anew(worlds, tmp_path):
    left_over = tmp_path / '.world.incomplete' / 'gtav' / 'images' / '00099.png'
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(b'half')
    assert write(tmp_path / 'world')
    assert digests(tmp_path / 'world') == digests(worlds / 'gta2city')
    assert not (tmp_path / '.world.incomplete').exists()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(pair='gta2moon'), "pair must be one of gta2city, .* got 'gta2moon'"),
        (dict(size=(8, 4)), r'each in 32\.\.8192 pixels, got \(8, 4\)'),
        (dict(source=0), 'source must be at least 1, got 0'),
        (dict(target_train=-1), 'target_train must be at least 1'),
        (dict(workers=0), 'workers must be at least 1'),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / 'world', **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('seed', [0, 5])
@pytest.mark.parametrize('pair, side, split', [('gta2city', 'target', 'val'), ('gta2city', 'source', 'train')])
def test_all_classes_occur_in_any_50_scenes(pair, side, split, seed):
    present = set()
    for index in range(50):
        present |= set(np.unique(train_ids(getattr(PAIRS[pair], side), split, index, seed)).tolist())
    assert present - {255} == set(range(19))


def test_appearance_pair_differs_in_appearance_only():
    pair = PAIRS['appearance']
    for index in range(3):
        source, source_labels = pair.source.sample(0, 'train', index, SIZE)
        target, target_labels = pair.target.sample(0, 'train', index, SIZE)
        assert np.array_equal(source_labels.ids, target_labels.ids)
        assert np.abs(source.astype(int) - target).mean() > 15


def test_a_pair_without_a_gap_differs_in_its_scenes_only():
    def largest_difference(name):
        """Of means and standard deviations of the channels, over 40 pictures."""
        moments = []
        for domain in (PAIRS[name].source, PAIRS[name].target):
            pictures = np.stack([domain.sample(0, 'train', index, SIZE)[0] for index in range(40)])
            moments.append([*pictures.mean((0, 1, 2)), *pictures.std((0, 1, 2))])
        return np.abs(np.subtract(*moments)).max()

    assert 0 < largest_difference('no_gap') < 5 < 15 < largest_difference('gta2city')


def test_other_pairs_differ_in_their_scenes():
    for name in ('gta2city', 'synthia2city', 'no_gap'):
        pair = PAIRS[name]
        assert (pair.source.statistics != pair.target.statistics) == (name != 'no_gap')
        source, target = (domain.sample(0, 'train', 0, SIZE)[1].ids for domain in (pair.source, pair.target))
        assert (source == target).mean() < 0.9


def test_every_scene_is_another_one():
    domain = PAIRS['gta2city'].target
    # Scenes 13 apart put the same class in full view.
    scenes = {domain.sample(0, split, index, SIZE)[1].ids.tobytes() for split in ('train', 'val') for index in (4, 17)}
    assert len(scenes) == 4


def test_scene_does_not_depend_on_what_was_drawn_before():
    domain = PAIRS['gta2city'].source
    first = domain.sample(3, 'train', 9, SIZE)[0]
    domain.sample(3, 'train', 2, SIZE)
    np.random.default_rng().random()
    assert np.array_equal(domain.sample(3, 'train', 9, SIZE)[0], first)


@pytest.mark.parametrize('size', [(32, 32), (200, 40), (40, 200), (333, 127)])
def test_any_size(size):
    for pair in PAIRS.values():
        for domain in (pair.source, pair.target):
            picture, labels = domain.sample(1, 'train', 4, size)
            assert picture.shape == (size[1], size[0], 3)
            assert labels.ids.shape == labels.instances.shape == labels.materials.shape == (size[1], size[0])


def test_command_line_tool(tmp_path, monkeypatch, capsys):
    options = ['--out', str(tmp_path), '--size', '64', '32', '--source', '2', '--target-train', '2']
    options += ['--target-val', '1', '--workers', '1']
    write_world(tmp_path / 'gta2city', size=(64, 32), source=2, target_train=2, target_val=1)
    command = [sys.executable, str(TOOL), *options, '--pair', 'gta2city', 'appearance']
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stderr
    assert 'gta2city: already there with these arguments, nothing to do' in finished.stdout
    assert 'Drawing pictures' in finished.stdout and '100%' in finished.stdout
    assert 'appearance: written in' in finished.stdout
    assert (tmp_path / 'appearance' / 'gtav' / 'labels' / '00002.png').is_file()
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *options, '--pair', 'gta2city', '--seed', '1'])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert end.value.code == 1 and 'other arguments (seed 0 → 1)' in capsys.readouterr().err
