"""Every fault planted into the data of a config is named, and nothing else."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from cda_mmseg.engine import UDARunner, read_config
from cda_mmseg.inspection import survey, write_good_lists
from cda_mmseg.inspection.page import write_page
from cda_mmseg.inspection.pair import guess_scheme
from tests.tool_processes import SMOKE

WORLD = Path('data/worlds/smoke_gta2city')
IMAGES, LABELS = WORLD / 'gtav' / 'images', WORLD / 'gtav' / 'labels'
TARGET = WORLD / 'cityscapes' / 'leftImg8bit'


@pytest.fixture
def config(smoke_worlds, tmp_path, monkeypatch):
    """The smoke-sized config of the paper's method, and a copy of its data to spoil."""
    shutil.copytree(smoke_worlds / WORLD, tmp_path / WORLD)
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmseg')
    config = read_config(SMOKE)
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    return config


def sorted_pictures(folder: Path) -> list[Path]:
    return sorted(folder.rglob('*.png'))


def label_with(path: Path, change) -> None:
    """Change the palette indices of a label."""
    with Image.open(path) as image:
        indices, palette = np.array(image), image.getpalette()
    changed = Image.fromarray(change(indices))
    changed.putpalette(palette)
    changed.save(path)


def spoil(path: Path) -> None:
    """Put an id of no class into a corner of a label."""

    def change(indices):
        indices[:2] = 77
        indices[2, 0] = 78
        return indices

    label_with(path, change)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b'IDAT') + 20] ^= 1
    path.write_bytes(data)


def plant_faults() -> list[str]:
    """Plant twelve faults; return the file that each is about."""
    source, trained, scored = (sorted_pictures(folder) for folder in (IMAGES, TARGET / 'train', TARGET / 'val'))
    label = [LABELS / path.name for path in source]
    source[0].write_bytes(source[0].read_bytes()[:-200])
    source[1].write_text('no picture')
    spoil(label[2])
    flip_a_bit(label[3])
    label_with(label[4], lambda indices: indices[:10])
    with Image.open(label[5]) as image:
        colours = image.convert('RGB')
    colours.save(label[5])
    label[6].unlink()
    stray = LABELS / '00099.png'
    shutil.copy(label[7], stray)
    trained[0].write_bytes(b'')
    trained[1].unlink()
    trained[1].symlink_to('nowhere.png')
    shutil.copy(trained[2], scored[0])
    capitals = scored[1].rename(scored[1].with_suffix('.PNG'))
    return [str(path) for path in (*source[:2], *label[2:6], source[6], stray, *trained[:3])] + [capitals.name]


@pytest.mark.parametrize('workers', [1, 2])
def test_a_world_in_order_has_no_findings(config, workers, monkeypatch):
    if workers > 1:  # fewer files are read by one process
        monkeypatch.setattr('cda_mmseg.datasets.cache.WORTH_A_BAR', 1)
    found = survey(config, workers)
    assert found.findings == []
    by_role = {data.role: data for data in found.data_sets}
    assert {role: (data.images, data.labels) for role, data in by_role.items()} == {
        'source, training': (8, 8),
        'target, training': (8, 0),
        'target, validation': (4, 4),
        'source, validation': (2, 2),
    }
    pictures = np.stack([cv2.imread(str(path)) for path in sorted_pictures(IMAGES)])[..., ::-1]
    source = by_role['source, training']
    np.testing.assert_allclose(source.mean, pictures.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(source.deviation, pictures.std(axis=(0, 1, 2)))
    assert source.sizes == {(64, 32): 8}
    assert 0 < source.pixels.sum() <= 8 * 64 * 32


def test_twelve_planted_faults_are_named_and_nothing_else(config, tmp_path):
    planted = plant_faults()
    found = survey(config)
    lines = [finding.message for finding in found.findings]
    assert len(lines) == len(planted) == 12, '\n'.join(lines)
    for path in planted:
        assert [line for line in lines if path in line or path.rpartition('/')[2] in line], path
    ids = next(line for line in lines if 'ids of no class' in line)
    assert 'most often 77 (6.2% of their pixels), 78 (0.0% of their pixels)' in ids

    page = write_page(found, SMOKE, config.model.data_preprocessor)
    assert '12 findings in' in page and all(Path(path).name in page for path in planted)

    # what is left trains: a fault that was overlooked would stop it
    shutil.move(*[TARGET / 'val' / path.relative_to(TARGET / 'val') for path in _capitals()])
    for option in write_good_lists(found, tmp_path / 'good'):
        config.merge_from_dict(dict([option.split('=')]))
    config.val_dataloader.dataset.datasets.pop()  # the source's, whose two pictures are both spoilt
    assert len(Path(config.train_dataloader.dataset.ann_file).read_text().split()) == 1
    config.work_dir = str(tmp_path / 'run')
    config.train_cfg.update(max_iters=2, val_interval=2)
    UDARunner.from_cfg(config).train()


def _capitals() -> tuple[Path, Path]:
    path = next((TARGET / 'val').rglob('*.PNG'))
    return path, path.with_suffix('.png')


def test_training_labels_of_the_target_are_not_opened(config):
    """Named pipes in their place would be waited for, if by any way they were opened."""
    for image in sorted_pictures(TARGET / 'train'):
        label = Path(str(image).replace('leftImg8bit', 'gtFine').removesuffix('.png') + '_labelIds.png')
        label.parent.mkdir(parents=True, exist_ok=True)
        label.unlink(missing_ok=True)
        os.mkfifo(label)
    target = config.target_dataloader.dataset
    target.data_prefix.seg_map_path = 'gtFine/train'
    target.pipeline.insert(1, dict(type='LoadAnnotations'))
    assert survey(config).findings == []


@pytest.mark.parametrize(
    ('values', 'classes', 'maps_ids', 'guess'),
    [
        ({0, 255}, 6, True, 'binary masks?'),
        (set(range(1, 20)), 19, False, 'values 1 to 19: reduce_zero_label=True?'),
        ({0, 1, 4, 255}, 19, True, 'trainIds already?'),
        ({7, 26, 33}, 19, False, "label ids of 'cityscapes'?"),
        ({77, 80}, 6, False, ''),
    ],
)
def test_guesses(values, classes, maps_ids, guess):
    assert guess in guess_scheme(values, classes, maps_ids)
    assert bool(guess) == bool(guess_scheme(values, classes, maps_ids))


def test_binary_masks_and_missing_folders(config):
    for path in sorted_pictures(LABELS):
        label_with(path, lambda indices: np.where(indices > 10, 255, 7).astype(np.uint8))
    config.val_dataloader.dataset.datasets[0].data_root = 'nowhere'
    messages = [finding.message for finding in survey(config).findings]
    assert any('binary masks?' in message for message in messages)
    assert any('val_dataloader.dataset.datasets.0 cannot read' in message for message in messages)
