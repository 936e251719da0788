import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmseg.datasets.transforms import LoadAnnotations

from cda_mmseg.datasets.preparation.encoding import encode_image, encode_png, label_encoder
from cda_mmseg.datasets.transforms import LoadLabelIds

INFO = dict(label_map=None, reduce_zero_label=False)
CLASSES = st.one_of(st.integers(0, 20), st.just(255))


def reading_gives_back(loader, info, folder, labels):
    encoder = label_encoder(loader, info, str(folder))
    path = folder / 'label.png'
    path.write_bytes(encoder.encode(labels))
    found = loader(dict(info, seg_map_path=str(path), seg_fields=[]))['gt_seg_map']
    assert found.dtype == np.uint8 and np.array_equal(found, labels)
    assert sorted(entry.name for entry in folder.iterdir()) == ['label.png']


@given(data=st.data(), encoding=st.sampled_from(['index', 'red16']))
def test_the_loader_of_the_raw_labels_reads_the_same_labels(tmp_path_factory, data, encoding):
    largest = 255 if encoding == 'index' else 65535
    id_map = data.draw(st.dictionaries(st.integers(0, largest), CLASSES, min_size=1, max_size=30))
    shape = data.draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    labels = np.random.default_rng(data.draw(st.integers(0, 99))).choice(list(id_map.values()), shape).astype(np.uint8)
    loader = LoadLabelIds(encoding=encoding, id_map=id_map)
    reading_gives_back(loader, INFO, tmp_path_factory.mktemp('labels'), labels)


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 1, 1: 255, 2: 0}])
def test_labels_that_mmseg_renumbers(tmp_path, reduce_zero_label, label_map):
    info = dict(label_map=label_map, reduce_zero_label=reduce_zero_label)
    labels = np.random.default_rng(0).choice([0, 1, 3, 255], (6, 8)).astype(np.uint8)
    reading_gives_back(LoadAnnotations(), info, tmp_path, labels)


def test_a_label_without_an_id_is_refused(tmp_path):
    encoder = label_encoder(LoadLabelIds(id_map={4: 0, 5: 1}), INFO, str(tmp_path))
    with pytest.raises(ValueError, match='no raw id stands for the labels 255'):
        encoder.encode(np.array([[0, 255]], np.uint8))


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_images_are_kept_bit_for_bit(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = encode_image(image, 'png', 95)
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), image)


def test_images_are_stored_and_not_compressed():
    image = np.zeros((40, 50, 3), np.uint8)
    assert 6000 < len(encode_image(image, 'png', 95)) < 6300
    assert len(encode_png(image[:, :, 0], 1)) < 200


@pytest.mark.parametrize('image', [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)])
def test_other_pixels_are_refused(image):
    with pytest.raises(ValueError, match='a copy holds uint8'):
        encode_image(image, 'png', 95)
