"""No bit of a label file can flip unseen."""

import io
import random

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from cda_mmseg.datasets.png import check_png
from cda_mmseg.datasets.transforms.load_label_ids import LoadLabelIds
from cda_mmseg.engine import PositionedDataset


def encoded(kind: str) -> bytes:
    random_numbers = np.random.default_rng(0)
    ids = random_numbers.choice([7, 8, 11, 26], (16, 24)).astype(np.uint8)
    if kind == 'prepared':
        return cv2.imencode('.png', ids, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    image, buffer = Image.fromarray(ids), io.BytesIO()
    if kind == 'palette':
        image.putpalette(bytes(range(256)) * 3)
    image.save(buffer, 'PNG', compress_level=0 if kind == 'uncompressed' else 6)
    return buffer.getvalue()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize('kind', ['grey', 'palette', 'prepared', 'uncompressed'])
def test_every_flipped_bit_is_an_error_or_changes_nothing(kind, tmp_path):
    data, path = encoded(kind), tmp_path / 'label.png'
    load = LoadLabelIds(encoding='index', id_map='cityscapes')
    path.write_bytes(data)
    results = dict(seg_map_path=str(path), seg_fields=[], label_map=None, reduce_zero_label=False)
    expected = load(dict(results))['gt_seg_map']
    for bit in random.Random(1).sample(range(8 * len(data)), 300):
        path.write_bytes(flipped(data, bit))
        try:
            found = load(dict(results))['gt_seg_map']
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert np.array_equal(found, expected), bit


@pytest.mark.parametrize('length', [8, 20, 40, -13, -1])
def test_a_file_that_breaks_off_is_truncated(length):
    with pytest.raises(ValueError, match=r'label\.png: (truncated|damaged) PNG file'):
        check_png('label.png', encoded('grey')[:length])


def test_other_files_pass():
    check_png('label.bmp', b'BM whatever')


def dataset_of(tmp_path, kind: str, labelled: bool = True):
    """Two samples read by mmseg's own LoadAnnotations; the second label is damaged."""
    init_default_scope('mmseg')
    for name, data in (('0', encoded('uncompressed')), ('1', flipped(encoded('uncompressed'), 8 * 200))):
        (tmp_path / f'{name}.png').write_bytes(data)
        cv2.imwrite(str(tmp_path / f'{name}.jpg'), np.zeros((16, 24, 3), np.uint8))
    labels = [dict(type='LoadAnnotations')] if labelled else []
    part = dict(
        type='BaseSegDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='', seg_map_path=''),
        metainfo=dict(classes=[str(number) for number in range(40)]),
        pipeline=[dict(type='LoadImage'), *labels, dict(type='PackSegInputs')],
        test_mode=kind == 'validation',
    )
    concatenated = dict(type='BothDomainsDataset' if kind == 'validation' else 'ConcatDataset', datasets=[part])
    return DATASETS.build(part if kind == 'training' else concatenated)


@pytest.mark.parametrize('kind', ['training', 'concatenated', 'validation'])
def test_labels_that_mmsegs_own_transform_reads_are_checked_too(kind, tmp_path):
    dataset = dataset_of(tmp_path, kind)
    read = dataset if kind == 'validation' else PositionedDataset(dataset, seed=0)
    damaged = 0
    for index in range(2):
        try:
            read[index]
        except ValueError as error:
            damaged += 1
            assert '1.png: damaged PNG file' in str(error)
    assert damaged == 1


def test_labels_that_nobody_reads_are_not_opened(tmp_path):
    dataset = PositionedDataset(dataset_of(tmp_path, 'training', labelled=False), seed=0)
    assert len([dataset[position] for position in range(2)]) == 2
