"""What mmseg's listing of a folder leaves out, repeats or misses is named before a run."""

import logging
import os
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from cda_mmseg.datasets.listing import check_listing
from cda_mmseg.datasets.transforms.image_files import is_local

KINDS = ('BaseSegDataset', 'CityscapesDataset', 'GTAVDataset')
READ = [dict(type='LoadImage'), dict(type='LoadLabelIds')]


@pytest.fixture(autouse=True)
def folders(tmp_path):
    """Six pairs in two folders."""
    init_default_scope('mmseg')
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for number in range(6):
        cv2.imwrite(str(tmp_path / 'images' / f'{number}.png'), np.full((4, 6, 3), number, np.uint8))
        cv2.imwrite(str(tmp_path / 'labels' / f'{number}.png'), np.full((4, 6), 7, np.uint8))


def config(root: Path, kind: str = 'BaseSegDataset', labels: bool = True, **values: object) -> dict:
    prefix = dict(img_path='images', seg_map_path='labels')
    suffixes = dict(img_suffix='.png', seg_map_suffix='.png')
    names = {} if kind == 'GTAVDataset' else dict(metainfo=dict(classes=('a',), palette=[[0, 0, 0]]))
    if kind == 'CityscapesDataset':
        names = {}
    pipeline = READ if labels else READ[:1]
    return dict(type=kind, data_root=str(root), data_prefix=prefix, pipeline=pipeline, **suffixes, **names, **values)


@contextmanager
def logged():
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize('kind', KINDS)
def test_good_folders_pass_without_a_word(tmp_path, kind):
    (tmp_path / 'images' / '.hidden.PNG').write_bytes(b'')
    (tmp_path / 'images' / 'notes.txt').write_text('')
    with logged() as lines:
        check_listing(config(tmp_path, kind), 'x')
    assert lines == []


@pytest.mark.parametrize('kind', KINDS)
def test_suffixes_in_capitals_are_refused(tmp_path, kind):
    (tmp_path / 'images' / '3.png').rename(tmp_path / 'images' / '3.PNG')
    message = r"x: 1 images in .*images would be left out because they end in '\.PNG' .*such as 3\.PNG"
    with pytest.raises(ValueError, match=message):
        check_listing(config(tmp_path, kind), 'x')
    for path in (tmp_path / 'images').glob('*.png'):
        path.rename(path.with_suffix('.PNG'))
    with pytest.raises(ValueError, match=r"6 images .*or set img_suffix='\.PNG'"):
        check_listing(config(tmp_path, kind, labels=False), 'x')


@pytest.mark.parametrize('kind', KINDS)
def test_pictures_of_another_kind_are_warned_of(tmp_path, kind):
    (tmp_path / 'images' / '3.png').rename(tmp_path / 'images' / '3.jpg')
    with logged() as lines:
        check_listing(config(tmp_path, kind), 'x')
    assert len(lines) == 1 and f"x: 1 *.jpg in {tmp_path}/images are left out, as img_suffix='.png'." in lines[0]


def fifo(path):
    os.mkfifo(path)


def dangling(path):
    path.symlink_to('nowhere')


def circle(path):
    path.symlink_to(path.name)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('folder', ['images', 'labels'])
@pytest.mark.parametrize(
    'make, name',
    [
        (fifo, 'FIFO'),
        (dangling, 'link that leads nowhere'),
        (circle, 'link to itself'),
        (Path.mkdir, 'folder'),
    ],
)
def test_what_is_no_file_is_named(tmp_path, kind, folder, make, name):
    path = tmp_path / folder / '3.png'
    path.unlink()
    make(path)
    with pytest.raises(ValueError, match=rf'x: 1 things in .*{folder} are called like .* no files: 3\.png \({name}\)'):
        check_listing(config(tmp_path, kind), 'x')
    if folder == 'labels':  # labels that nobody loads are not looked at
        check_listing(config(tmp_path, kind, labels=False), 'x')
    elif make is not circle:  # which mmseg cannot list at all
        with logged() as lines:
            check_listing(config(tmp_path, kind), 'x', skips_damaged=True)
        assert f'3.png ({name})' in ''.join(lines)


def test_links_to_files_and_folders_are_followed(tmp_path):
    (tmp_path / 'images' / '3.png').rename(tmp_path / 'elsewhere.png')
    (tmp_path / 'images' / '3.png').symlink_to(tmp_path / 'elsewhere.png')
    (tmp_path / 'images').rename(tmp_path / 'far')
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'town').symlink_to(tmp_path / 'far')
    (tmp_path / 'labels').rename(tmp_path / 'near')
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / 'town').symlink_to(tmp_path / 'near')
    check_listing(config(tmp_path), 'x')
    assert len(DATASETS.build(config(tmp_path))) == 6


@pytest.mark.parametrize('folder', ['images', 'labels'])
def test_links_in_a_circle_are_refused(tmp_path, folder):
    (tmp_path / folder / 'town').mkdir()
    (tmp_path / folder / 'town' / 'again').symlink_to(tmp_path / folder)
    with pytest.raises(ValueError, match=r'x: .*town/again is a link to a folder that it lies in'):
        check_listing(config(tmp_path), 'x', skips_damaged=True)


def test_missing_labels_are_named(tmp_path):
    (tmp_path / 'labels' / '3.png').unlink()
    with pytest.raises(ValueError, match=r'x: 1 of 6 images have no label in .*labels: 3\.png'):
        check_listing(config(tmp_path), 'x')
    check_listing(config(tmp_path, labels=False), 'x')
    check_listing(config(tmp_path, indices=3), 'x')


SPLITS = {
    'blank': (b'0\n1\n\n', r'line 3 is blank; remove it'),
    'suffix': (b'0.png\n', r"line 1: '0.png' has the suffix already"),
    'suffix in capitals': (b'0.PNG\n', r"line 1: '0.PNG' has the suffix already"),
    'byte order mark': (b'\xef\xbb\xbf0\n', 'begins with a byte order mark'),
    'UTF-16': ('0\n'.encode('utf-16'), 'begins with a byte order mark'),
    'Latin-1': ('grün\n'.encode('latin-1'), 'is no text in UTF-8'),
    'missing': (b'0\n99999\n', r'line 2: there is no image .*images/99999\.png'),
    'two columns': (b'0 labels/0\n', r'line 1: there is no image'),
    'form feed': (b'0\x0c1\n', 'line 1: there is no image'),
    'line separator': ('0\u20281\n'.encode(), 'line 1: there is no image'),
    'empty': (b'', 'is empty'),
}


@pytest.mark.parametrize('name', SPLITS)
@pytest.mark.parametrize('wrapper', [None, 'ConcatDataset'])
def test_lines_of_split_files_are_checked_when_the_list_is_read(tmp_path, name, wrapper):
    content, message = SPLITS[name]
    (tmp_path / 'split.txt').write_bytes(content)
    listed = config(tmp_path, ann_file='split.txt')
    if wrapper:
        listed, place = dict(type=wrapper, datasets=[listed]), r'x\.datasets\.0'
    else:
        place = 'x'
    with pytest.raises(ValueError, match=rf'{place}\.ann_file=.*split\.txt.*{message}'):
        check_listing(listed, 'x')


@pytest.mark.parametrize('content', [b'0\n3', b'0\r\n3\r\n', b' 0 \n3\n'])
def test_good_split_files_pass(tmp_path, content):
    (tmp_path / 'split.txt').write_bytes(content)
    (tmp_path / 'images' / '5.PNG').write_bytes(b'')  # not in the list
    listed = config(tmp_path, ann_file='split.txt')
    check_listing(listed, 'x')
    dataset = DATASETS.build(listed)
    assert [Path(dataset.get_data_info(index)['img_path']).name for index in range(2)] == ['0.png', '3.png']


def test_a_split_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'x\.ann_file=.*split\.txt is no file'):
        check_listing(config(tmp_path, ann_file='split.txt'), 'x')


def test_other_data_sets_and_file_systems_are_left_alone(tmp_path):
    class Own(DATASETS.get('BaseSegDataset')):
        def load_data_list(self):
            return []

    (tmp_path / 'images' / '3.png').rename(tmp_path / 'images' / '3.PNG')
    check_listing(dict(config(tmp_path), type=Own), 'x')
    assert not is_local('s3://bucket/data') and not is_local('data', dict(backend='petrel')) and is_local('data')
    check_listing(None, 'x')
