import io
import zlib

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmseg.registry import TRANSFORMS
from PIL import Image

from cda_mmseg.datasets.transforms.load_image import LoadImage
from cda_mmseg.datasets.transforms.load_label_ids import LoadLabelIds

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
PNG = cv2.imencode('.png', PICTURE)[1].tobytes()
JPEG = cv2.imencode('.jpg', PICTURE)[1].tobytes()


def load(path, data):
    path.write_bytes(data)
    return LoadImage()(dict(img_path=str(path)))


@pytest.mark.parametrize('suffix, data', [('.png', PNG), ('.jpg', JPEG)])
def test_equals_the_stock_transform(tmp_path, suffix, data):
    path = tmp_path / f'image{suffix}'
    ours, stock = load(path, data), LoadImageFromFile()(dict(img_path=str(path)))
    assert ours.keys() == stock.keys()
    assert ours['img_shape'] == stock['img_shape'] == ours['ori_shape'] == stock['ori_shape'] == (24, 32)
    assert np.array_equal(ours['img'], stock['img'])


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P', '1', 'LA', 'I;16'])
def test_every_kind_becomes_three_channels(tmp_path, mode):
    grey = PICTURE[:, :, 0]
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == 'I;16' else Image.fromarray(grey).convert(mode)
    stream = io.BytesIO()
    image.save(stream, 'png')
    loaded = load(tmp_path / 'image.png', stream.getvalue())['img']
    assert loaded.shape == (24, 32, 3)
    assert loaded.dtype == np.uint8
    expected = np.asarray(image.convert('L')) if mode == '1' else grey
    assert np.array_equal(loaded, np.repeat(expected[:, :, None], 3, axis=2))


def test_one_pixel(tmp_path):
    data = cv2.imencode('.png', PICTURE[:1, :1])[1].tobytes()
    assert np.array_equal(load(tmp_path / 'dot.png', data)['img'], PICTURE[:1, :1])


def test_jpeg_with_bytes_after_its_end_is_whole(tmp_path):
    assert load(tmp_path / 'image.jpg', JPEG + b'\0maker note')['img'].shape == (24, 32, 3)


@pytest.mark.parametrize(
    'name, data, message',
    [
        ('zero.png', b'', 'empty image file'),
        ('cut.png', PNG[: len(PNG) // 2], 'damaged, truncated or no image'),
        ('head.png', PNG[:10], 'truncated PNG'),
        ('text.png', b'<html>404</html>', 'damaged, truncated or no image'),
        ('cut.jpg', JPEG[: len(JPEG) // 2], 'truncated JPEG'),
        ('almost.jpg', JPEG[:-2], 'truncated JPEG'),
    ],
)
def test_bad_files_are_named(tmp_path, name, data, message):
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path / name, data)
    assert str(tmp_path / name) in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.png'):
        LoadImage()(dict(img_path=str(tmp_path / 'nowhere.png')))


def test_is_registered():
    assert TRANSFORMS.get('LoadImage') is LoadImage


DEEP = np.random.default_rng(1).integers(0, 65536, (24, 32, 3)).astype(np.uint16)


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
def test_sixteen_bits_that_are_used_become_eight(tmp_path, suffix):
    loaded = load(tmp_path / 'image', cv2.imencode(suffix, DEEP)[1].tobytes())['img']
    assert np.array_equal(loaded, DEEP >> 8)


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_cameras_of_fewer_bits(tmp_path, bits):
    picture = DEEP >> (16 - bits)
    data = cv2.imencode('.png', picture)[1].tobytes()
    path = tmp_path / 'image.png'
    if bits < 16:
        with pytest.raises(ValueError, match=rf'image\.png: 16 bits per channel, but .* \({bits} bits\)'):
            load(path, data)
    path.write_bytes(data)
    assert np.array_equal(LoadImage(bits=bits)(dict(img_path=str(path)))['img'], DEEP >> 8)
    if bits > 8:
        with pytest.raises(ValueError, match=rf'more than the {bits - 1} bits'):
            LoadImage(bits=bits - 1)(dict(img_path=str(path)))


def test_a_black_picture_and_a_dark_one_on_purpose(tmp_path):
    black = cv2.imencode('.png', np.zeros((4, 4, 3), np.uint16))[1].tobytes()
    assert not load(tmp_path / 'black.png', black)['img'].any()
    (tmp_path / 'dark.png').write_bytes(cv2.imencode('.png', DEEP >> 4)[1].tobytes())
    assert LoadImage(bits=16)(dict(img_path=str(tmp_path / 'dark.png')))['img'].max() == 15


@pytest.mark.parametrize('bits', [7, 17])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match=r'bits must be in 8\.\.16'):
        LoadImage(bits=bits)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims to be large."""

    def chunk(kind, body):
        return len(body).to_bytes(4, 'big') + kind + body + zlib.crc32(kind + body).to_bytes(4, 'big')

    header = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + bytes([8, 3, 0, 0, 0])
    rest = chunk(b'PLTE', bytes(3)) + chunk(b'IDAT', zlib.compress(bytes(99))) + chunk(b'IEND', b'')
    return PNG[:8] + chunk(b'IHDR', header) + rest


@pytest.mark.parametrize('transform, key', [(LoadImage(), 'img_path'), (LoadLabelIds(), 'seg_map_path')])
def test_decompression_bombs_are_named_before_they_take_memory(tmp_path, transform, key):
    path = tmp_path / 'bomb.png'
    path.write_bytes(bomb(60000, 60000))
    with pytest.raises(ValueError, match=r'bomb\.png: its header claims 60000×60000 pixels'):
        transform({key: str(path), 'seg_fields': []})


def test_bombs_of_other_formats_are_named(tmp_path):
    head = bytearray(cv2.imencode('.bmp', PICTURE)[1].tobytes())
    head[18:26] = (60000).to_bytes(4, 'little') * 2
    with pytest.raises(ValueError, match=r'bomb\.bmp: Image size \(3600000000 pixels\) exceeds limit'):
        load(tmp_path / 'bomb.bmp', bytes(head))


def test_no_flipped_bit_of_a_png_image_goes_unseen(tmp_path, capfd):
    """OpenCV compares check sums itself, but for the end chunk, which holds no pixel."""
    refused = 0
    for place in range(0, len(PNG), 7):
        changed = bytearray(PNG)
        changed[place] ^= 1 << place % 8
        try:
            found = load(tmp_path / 'image.png', bytes(changed))['img']
        except ValueError:
            refused += 1
        else:
            assert place > len(PNG) - 5 and np.array_equal(found, PICTURE)
    assert refused > len(PNG) // 8
