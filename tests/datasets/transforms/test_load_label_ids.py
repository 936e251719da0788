import io
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from PIL import Image

from cda_mmseg.datasets.label_ids import CITYSCAPES_IDS, SYNTHIA_IDS
from cda_mmseg.datasets.transforms.load_label_ids import LoadLabelIds

# Written down once more, by name, from the three data sets' own documentation.
CITYSCAPES = 'road 7 sidewalk 8 building 11 wall 12 fence 13 pole 17 light 19 sign 20 vegetation 21 terrain 22 sky 23'
CITYSCAPES += ' person 24 rider 25 car 26 truck 27 bus 28 train 31 motorcycle 32 bicycle 33'
SYNTHIA = 'road 3 sidewalk 4 building 2 wall 21 fence 5 pole 7 light 15 sign 9 vegetation 6 terrain 16 sky 1'
SYNTHIA += ' person 10 rider 17 car 8 truck 18 bus 19 train 20 motorcycle 12 bicycle 11'


def in_class_order(text):
    return [int(number) for number in text.split()[1::2]]


def palette_png(ids, bits=8):
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette([value for index in range(256) for value in (index * 7 % 256, index * 31 % 256, 255 - index)])
    stream = io.BytesIO()
    image.save(stream, 'png', bits=bits)
    return stream.getvalue()


def grey_png(ids):
    return cv2.imencode('.png', ids)[1].tobytes()


def red16_png(ids, instances=0):
    pixels = np.zeros((*ids.shape, 3), np.uint16)
    pixels[:, :, 2], pixels[:, :, 1] = ids, instances
    return cv2.imencode('.png', pixels)[1].tobytes()


def load(path, data, ori_shape=None, label_map=None, **arguments):
    path.write_bytes(data)
    results = dict(seg_map_path=str(path), seg_fields=[], label_map=label_map, reduce_zero_label=False)
    if ori_shape is not None:
        results['ori_shape'] = ori_shape
    return LoadLabelIds(**arguments)(results)


@pytest.mark.parametrize('table, text', [(CITYSCAPES_IDS, CITYSCAPES), (SYNTHIA_IDS, SYNTHIA)])
def test_id_maps_are_those_of_the_data_sets(table, text):
    ids = in_class_order(text)
    assert [table[label_id] for label_id in ids] == list(range(19))
    assert {table[other] for other in table.keys() - set(ids)} == {255}


def test_schemes_know_all_ids():
    assert set(CITYSCAPES_IDS) == {*range(35), 255}
    assert set(SYNTHIA_IDS) == set(range(23))


def cases(scheme):
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
    return hnp.arrays(np.uint8, shapes, elements=st.sampled_from(sorted(scheme)))


@settings(max_examples=60, deadline=None)
@given(ids=cases(CITYSCAPES_IDS), palette=st.booleans())
def test_index_encoding_maps_every_pixel(tmp_path_factory, ids, palette):
    path = tmp_path_factory.mktemp('index') / 'label.png'
    results = load(path, palette_png(ids) if palette else grey_png(ids))
    expected = [[CITYSCAPES_IDS[label_id] for label_id in row] for row in ids.tolist()]
    assert results['gt_seg_map'].tolist() == expected
    assert results['gt_seg_map'].dtype == np.uint8
    assert results['seg_fields'] == ['gt_seg_map']


@settings(max_examples=60, deadline=None)
@given(ids=cases(SYNTHIA_IDS), instances=st.integers(0, 65535))
def test_red16_encoding_maps_every_pixel(tmp_path_factory, ids, instances):
    path = tmp_path_factory.mktemp('red16') / 'label.png'
    results = load(path, red16_png(ids, instances), encoding='red16', id_map='synthia')
    assert results['gt_seg_map'].tolist() == [[SYNTHIA_IDS[label_id] for label_id in row] for row in ids.tolist()]
    assert results['gt_seg_map'].dtype == np.uint8


@settings(max_examples=40, deadline=None)
@given(
    id_map=st.dictionaries(st.integers(0, 255), st.one_of(st.integers(0, 253), st.just(255)), min_size=1),
    data=st.data(),
)
def test_own_id_maps(tmp_path_factory, id_map, data):
    ids = data.draw(hnp.arrays(np.uint8, (3, 5), elements=st.integers(0, 255)))
    path = tmp_path_factory.mktemp('own') / 'label.png'
    unknown = sorted(set(ids.ravel().tolist()) - id_map.keys())
    if unknown:
        with pytest.raises(
            ValueError, match=rf'label\.png: label ids {unknown[0]}\b.* not defined by the given id_map'
        ):
            load(path, grey_png(ids), id_map=id_map)
    else:
        labels = load(path, grey_png(ids), id_map=id_map)['gt_seg_map']
        assert labels.tolist() == [[id_map[label_id] for label_id in row] for row in ids.tolist()]


@pytest.mark.parametrize('bits', [1, 2, 4])
def test_narrow_palettes_keep_their_index(tmp_path, bits):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4) % (1 << bits)
    data = palette_png(ids, bits=bits)
    assert data[24] == bits
    labels = load(tmp_path / 'label.png', data, id_map={number: number + 1 for number in range(16)})['gt_seg_map']
    assert np.array_equal(labels, ids + 1)


def test_sets_what_stock_load_annotations_sets(tmp_path):
    train_ids = np.random.default_rng(0).integers(0, 19, (6, 9)).astype(np.uint8)
    path = tmp_path / 'label.png'
    path.write_bytes(grey_png(train_ids))
    keys = dict(seg_map_path=str(path), label_map=None, reduce_zero_label=False)
    stock = LoadAnnotations()(dict(keys, seg_fields=[]))
    ours = LoadLabelIds(id_map={number: number for number in range(19)})(dict(keys, seg_fields=[]))
    assert stock.keys() == ours.keys()
    assert stock['seg_fields'] == ours['seg_fields']
    assert stock['gt_seg_map'].dtype == ours['gt_seg_map'].dtype
    assert np.array_equal(stock['gt_seg_map'], ours['gt_seg_map'])


def test_class_subset_of_the_data_set_is_honoured(tmp_path):
    ids = np.array([[7, 8, 26, 0]], np.uint8)  # road, sidewalk, car, void
    label_map = {**dict.fromkeys(range(19), 255), 13: 0, 0: 1}
    labels = load(tmp_path / 'label.png', grey_png(ids), label_map=label_map)['gt_seg_map']
    assert labels.tolist() == [[1, 255, 0, 255]]


def test_void_frame_is_fine(tmp_path):
    results = load(tmp_path / 'void.png', red16_png(np.zeros((4, 4), np.uint16)), encoding='red16', id_map='synthia')
    assert (results['gt_seg_map'] == 255).all()


@pytest.mark.parametrize('rows, columns', [(-3, 0), (2, 0), (0, 4), (5, -2), (-16, 16)])
def test_small_differences_of_size_are_fitted(tmp_path, rows, columns):
    ids = np.random.default_rng(1).choice([7, 8, 26], (30 - rows, 40 - columns)).astype(np.uint8)
    labels = load(tmp_path / 'label.png', grey_png(ids), ori_shape=(30, 40))['gt_seg_map']
    expected = np.full((30, 40), 255, np.uint8)
    common = ids[:30, :40]
    expected[: common.shape[0], : common.shape[1]] = np.vectorize(CITYSCAPES_IDS.get)(common)
    assert np.array_equal(labels, expected)


def test_large_differences_of_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'label\.png: the label is 40×47 but its image 40×30'):
        load(tmp_path / 'label.png', grey_png(np.full((47, 40), 7, np.uint8)), ori_shape=(30, 40))


def test_label_is_compared_with_the_image_file_also_after_a_resize(tmp_path):
    pipeline = [dict(type='LoadImage'), dict(type='Resize', scale=(16, 8)), dict(type='LoadLabelIds')]
    image, label = tmp_path / 'image.png', tmp_path / 'label.png'
    image.write_bytes(cv2.imencode('.png', np.zeros((16, 32, 3), np.uint8))[1].tobytes())
    label.write_bytes(grey_png(np.full((15, 32), 7, np.uint8)))
    results = dict(img_path=str(image), seg_map_path=str(label), seg_fields=[], label_map=None, reduce_zero_label=False)
    for transform in pipeline:
        results = TRANSFORMS.build(transform)(results)
    assert results['img'].shape == (8, 16, 3)
    assert results['gt_seg_map'].shape == (16, 32)
    assert (results['gt_seg_map'][15] == 255).all()
    assert (results['gt_seg_map'][:15] == 0).all()


IDS = np.full((8, 8), 7, np.uint8)
COLORS = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
GREY16 = cv2.imencode('.png', IDS.astype(np.uint16) * 1000)[1].tobytes()


def broken_in_the_middle():
    data = bytearray(grey_png(np.random.default_rng(0).integers(7, 9, (64, 64)).astype(np.uint8)))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize(
    'data, arguments, message',
    [
        (b'', {}, 'empty label file'),
        (b'', dict(encoding='red16', id_map='synthia'), 'empty label file'),
        (b'GIF89a' + bytes(40), {}, 'not a PNG'),
        (grey_png(IDS)[:20], {}, 'cut off in its header'),
        (grey_png(IDS)[:60], {}, '(damaged|truncated) PNG'),
        (
            palette_png(np.arange(35, dtype=np.uint8).repeat(99).reshape(35, 99))[:-40],
            {},
            '(damaged|truncated) PNG',
        ),
        (broken_in_the_middle(), {}, '(damaged|truncated) PNG'),
        (red16_png(IDS)[:70], dict(encoding='red16', id_map='synthia'), '(damaged|truncated) PNG'),
        (cv2.imencode('.png', COLORS)[1].tobytes(), {}, '8-bit RGB PNG.*coloured visualisation'),
        (cv2.imencode('.png', np.dstack([COLORS, IDS]))[1].tobytes(), {}, '8-bit RGBA PNG.*coloured visualisation'),
        (red16_png(IDS), {}, r"16-bit RGB PNG.*LoadLabelIds\(encoding='red16', id_map='synthia'\)"),
        (GREY16, {}, '16-bit grey PNG.*needs 8 bits'),
        (grey_png(IDS), dict(encoding='red16', id_map='synthia'), '8-bit grey PNG.*needs 16-bit RGB'),
        (palette_png(IDS), dict(encoding='red16', id_map='synthia'), '8-bit palette PNG.*encoding="index"'),
        (cv2.imencode('.png', COLORS)[1].tobytes(), dict(encoding='red16'), '8-bit RGB PNG.*needs 16-bit RGB'),
        (grey_png(IDS * 5), {}, "label ids 35 are not defined by the 'cityscapes' id_map"),
        (red16_png(IDS + np.uint16(993)), dict(encoding='red16', id_map='synthia'), 'label ids 1000 are not defined'),
    ],
)
def test_bad_files_are_named(tmp_path, data, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path / 'broken_one.png', data, **arguments)
    assert str(tmp_path / 'broken_one.png') in str(error.value)


def test_missing_file_is_named(tmp_path):
    results = dict(seg_map_path=str(tmp_path / 'nowhere.png'), seg_fields=[])
    with pytest.raises(FileNotFoundError, match=r'nowhere\.png'):
        LoadLabelIds()(results)


def test_many_unknown_ids_are_shortened(tmp_path):
    ids = np.arange(40, 140, dtype=np.uint8).reshape(10, 10)
    with pytest.raises(ValueError, match='label ids 40, 41, 42, 43, 44, 45, 46, 47, … are'):
        load(tmp_path / 'label.png', grey_png(ids))


def test_reduce_zero_label_is_refused(tmp_path):
    results = dict(seg_map_path='x.png', seg_fields=[], reduce_zero_label=True)
    with pytest.raises(ValueError, match=r'x\.png: .*reduce_zero_label=False'):
        LoadLabelIds()(results)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(encoding='rgb'), "encoding must be 'index' or 'red16', got 'rgb'"),
        (dict(id_map='kitti'), "must be one of .* got 'kitti'"),
        (dict(id_map={}), 'id_map is empty'),
        (dict(id_map={256: 0}), 'key 256; ids are integers in 0..255'),
        (dict(id_map={-1: 0}), 'key -1'),
        (dict(id_map={'7': 0}), "key '7'"),
        (dict(id_map={7: 254}), r'id_map\[7\] = 254; training classes are 0..253, or 255'),
        (dict(max_size_difference=-1), 'max_size_difference must be at least 0'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LoadLabelIds(**arguments)


def test_decodes_as_zlib_and_the_png_specification_say(tmp_path):
    """Undo PNG by hand: inflate the data of an unfiltered, uninterlaced grey file."""
    ids = np.random.default_rng(3).choice(sorted(CITYSCAPES_IDS), (13, 17)).astype(np.uint8)
    rows = b''.join(b'\0' + row.tobytes() for row in ids)

    def chunk(kind, body):
        return len(body).to_bytes(4, 'big') + kind + body + zlib.crc32(kind + body).to_bytes(4, 'big')

    header = (17).to_bytes(4, 'big') + (13).to_bytes(4, 'big') + bytes([8, 3, 0, 0, 0])
    palette = bytes(range(256)) * 3
    data = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'PLTE', palette)
    data += chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
    labels = load(tmp_path / 'label.png', data)['gt_seg_map']
    assert np.array_equal(labels, np.vectorize(CITYSCAPES_IDS.get)(ids))
