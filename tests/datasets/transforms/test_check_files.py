"""What mmseg's own loaders would read wrongly is refused before they read it."""

import io
import os
import zlib

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import init_default_scope
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from cda_mmseg.datasets.pipelines import check_stock_loaders
from cda_mmseg.datasets.transforms.check_files import CheckImageFile, CheckLabelFile, checked
from cda_mmseg.datasets.transforms.load_image import LoadImage
from cda_mmseg.datasets.transforms.load_label_ids import LoadLabelIds

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
CLASSES = np.random.default_rng(0).integers(0, 6, (24, 32)).astype(np.uint8)


def saved(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(PICTURE, kind, exif=exif)


def flipped(data: bytes, byte: int) -> bytes:
    return data[:byte] + bytes([data[byte] ^ 4]) + data[byte + 1 :]


def read(tmp_path, image: bytes, label: bytes | None, image_loader: object, label_loader: object = None) -> dict:
    """Read a pair as a data set does whose loaders are checked."""
    (tmp_path / 'image').write_bytes(image)
    results = dict(img_path=str(tmp_path / 'image'), seg_fields=[], label_map=None, reduce_zero_label=False)
    if label is not None:
        (tmp_path / 'label').write_bytes(label)
        results['seg_map_path'] = str(tmp_path / 'label')
    for step in checked([image_loader, *([label_loader] if label is not None else [])]):
        results = step(results)
    return results


GOOD_IMAGE, GOOD_LABEL = saved(PICTURE, 'PNG'), saved(CLASSES, 'PNG')


@pytest.mark.parametrize('image', [GOOD_IMAGE, saved(PICTURE, 'JPEG'), saved(PICTURE, 'BMP'), saved(PICTURE, 'WEBP')])
@pytest.mark.parametrize('label', [GOOD_LABEL, saved(CLASSES, 'BMP'), saved(CLASSES > 2, 'PNG')])
def test_good_files_are_read_as_before(tmp_path, image, label):
    found = read(tmp_path, image, label, LoadImageFromFile(), LoadAnnotations())
    paths = dict(img_path=found['img_path'], seg_map_path=found['seg_map_path'], reduce_zero_label=False)
    assert np.array_equal(found['img'], LoadImageFromFile()(dict(paths))['img'])
    assert np.array_equal(found['gt_seg_map'], LoadAnnotations()(dict(paths, seg_fields=[]))['gt_seg_map'])


def test_a_picture_that_is_a_program_never_runs(tmp_path, monkeypatch):
    """Pillow gives EPS files to Ghostscript, whatever their names end in."""
    (tmp_path / 'gs').write_text(f'#!/bin/sh\ntouch {tmp_path}/it_has_run\n')
    (tmp_path / 'gs').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, 'gs_binary', None)
    program, by_pillow = saved(CLASSES, 'EPS'), LoadImageFromFile(imdecode_backend='pillow')
    for image, label in ((program, None), (GOOD_IMAGE, program)):
        with pytest.raises(ValueError, match=f'{"label" if label else "image"}: an EPS file, which is a program'):
            read(tmp_path, image, label, by_pillow, LoadAnnotations())
    assert not (tmp_path / 'it_has_run').exists()
    with pytest.raises(UnidentifiedImageError):  # what that program left is none
        by_pillow(dict(img_path=str(tmp_path / 'label')))
    assert (tmp_path / 'it_has_run').exists()


def grey_png_of_two_bits() -> bytes:
    image = Image.fromarray(CLASSES % 4)
    image.putpalette([value for level in (0, 85, 170, 255) for value in [level] * 3])
    stream = io.BytesIO()
    image.save(stream, 'PNG', bits=2)
    data = bytearray(stream.getvalue())
    data[25] = 0  # palette to grey: Pillow then multiplies the values by 85
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, 'big')
    return bytes(data)


@pytest.mark.parametrize(
    'label, message',
    [
        (flipped(GOOD_LABEL, len(GOOD_LABEL) // 2), 'damaged PNG file'),
        (GOOD_LABEL[:-20], 'truncated PNG file'),
        (b'', 'empty label file'),
        (cv2.imencode('.png', CLASSES.astype(np.uint16) * 300)[1].tobytes(), '16-bit grey PNG'),
        (grey_png_of_two_bits(), '2-bit grey PNG'),
        (saved(PICTURE, 'PNG'), 'coloured visualisation'),
        (saved(CLASSES, 'JPEG'), "a JPEG with pixels of kind 'L', which does not hold classes 0..255 exactly"),
        (saved(CLASSES.astype(np.uint16), 'TIFF'), "a TIFF with pixels of kind 'I;16'"),
        (b'<html>404</html>', 'damaged label file'),
        (saved(CLASSES[:12], 'PNG'), 'the label is 32×12 but its image 32×24'),
    ],
)
@pytest.mark.parametrize('image_loader', [LoadImage(), LoadImageFromFile()])
def test_labels_that_the_stock_loader_would_misread_are_refused(tmp_path, label, message, image_loader):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, GOOD_IMAGE, label, image_loader, LoadAnnotations())
    assert str(tmp_path / 'label') in str(error.value)


@pytest.mark.parametrize(
    'image, loader, message',
    [
        (b'', {}, 'empty image file'),
        (saved(PICTURE, 'JPEG')[:-30], {}, 'truncated JPEG'),
        (
            cv2.imencode('.png', PICTURE.astype(np.uint16) * 16)[1].tobytes(),
            {},
            'no value is above 4080.*use LoadImage',
        ),
        (cv2.imencode('.tiff', PICTURE.astype(np.uint16) * 16)[1].tobytes(), {}, 'no value is above 4080'),
        (cv2.imencode('.tiff', PICTURE.astype(np.float32))[1].tobytes(), {}, 'float32 values'),
        (flipped(GOOD_IMAGE, len(GOOD_IMAGE) // 2), dict(imdecode_backend='pillow'), 'damaged PNG file'),
        (flipped(GOOD_IMAGE, 18), {}, 'damaged PNG file'),
    ],
)
def test_images_that_the_stock_loader_would_misread_are_refused(tmp_path, image, loader, message):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, image, None, LoadImageFromFile(**loader))
    assert str(tmp_path / 'image') in str(error.value)


@pytest.mark.parametrize('image_loader', [LoadImage(), LoadImageFromFile()])
@pytest.mark.parametrize('label_loader', [LoadLabelIds(id_map='train_ids'), LoadAnnotations()])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_images_turned_by_exif_are_refused_in_pairs_only(tmp_path, image_loader, label_loader, kind):
    """Orientation 3 keeps the size, so nothing else would notice."""
    alone = read(tmp_path, turned(kind, 3), None, image_loader)['img']
    upright = read(tmp_path, turned(kind, 1), GOOD_LABEL, image_loader, label_loader)
    assert np.array_equal(alone, upright['img'][::-1, ::-1])
    with pytest.raises(ValueError, match=r'image: its EXIF orientation is 3.*Save the image upright'):
        read(tmp_path, turned(kind, 3), GOOD_LABEL, image_loader, label_loader)


@pytest.mark.parametrize('order', [1, -1])
def test_the_order_of_loaders_does_not_matter_for_exif(tmp_path, order):
    (tmp_path / 'image').write_bytes(turned('JPEG', 6))
    (tmp_path / 'label').write_bytes(GOOD_LABEL)
    results = dict(img_path=str(tmp_path / 'image'), seg_map_path=str(tmp_path / 'label'), seg_fields=[])
    with pytest.raises(ValueError, match='EXIF orientation is 6'):
        for step in [LoadImage(), LoadLabelIds(id_map='train_ids')][::order]:
            results = step(results)


@pytest.mark.parametrize('damaged', ['image', 'label'])
@pytest.mark.parametrize('loaders', [(LoadImage(), LoadLabelIds()), (LoadImageFromFile(), LoadAnnotations())])
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, damaged, loaders):
    (tmp_path / 'image').write_bytes(GOOD_IMAGE)
    (tmp_path / 'label').write_bytes(GOOD_LABEL)
    (tmp_path / damaged).unlink()
    results = dict(img_path=str(tmp_path / 'image'), seg_map_path=str(tmp_path / 'label'), seg_fields=[])
    results |= dict(label_map=None, reduce_zero_label=False)
    steps = checked(loaders)

    def run():
        value = dict(results, seg_fields=[])
        for step in steps:
            value = step(value)

    for make, error, message in (
        (os.mkfifo, ValueError, f'{damaged}: a FIFO, not a file'),
        (os.mkdir, ValueError, f'{damaged}: a folder, not a file'),
        (lambda path: os.symlink('nowhere', path), FileNotFoundError, damaged),
        (lambda path: os.symlink(path, path), OSError, 'Too many levels'),
    ):
        make(tmp_path / damaged)
        with pytest.raises(error, match=message):
            run()
        (tmp_path / damaged).rmdir() if message.count('folder') else (tmp_path / damaged).unlink()


def test_checks_are_put_in_once_and_into_every_part():
    init_default_scope('mmseg')
    part = dict(
        type='BaseSegDataset',
        lazy_init=True,
        metainfo=dict(classes=('a',)),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='TestTimeAug',
                transforms=[
                    [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
                    [dict(type='LoadAnnotations')],
                ],
            ),
        ],
    )
    dataset = DATASETS.build(dict(type='ConcatDataset', datasets=[part, part], lazy_init=True))
    check_stock_loaders(dataset)
    check_stock_loaders(dataset)
    for single in dataset.datasets:
        first, _, augmented = single.pipeline.transforms
        assert isinstance(first, CheckImageFile)
        for variant in augmented.subroutines:
            assert [isinstance(step, CheckLabelFile) for step in variant.transforms] == [False, True, False]
