import io

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmseg.registry import TRANSFORMS
from PIL import Image

from cda_mmseg.datasets.transforms.load_image import LoadImage

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
        ('head.png', PNG[:10], 'damaged, truncated or no image'),
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
