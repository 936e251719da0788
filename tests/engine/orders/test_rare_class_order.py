"""Rare-class sampling, against NumPy and the published figures."""

from collections import Counter

import cv2
import numpy as np
import pytest
from mmengine.dataset import RepeatDataset
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from cda_mmseg.datasets.class_counts import count_classes
from cda_mmseg.datasets.joined import JoinedDataset
from cda_mmseg.engine import PositionedDataset
from cda_mmseg.engine.orders.rare_class_order import RareClassOrder, class_probabilities

init_default_scope('mmseg')
# SYNTHIA's shares in % by trainId, and the classes' probabilities at DAFormer's temperature of .01, two decimals.
SYNTHIA = {0: 18.64, 1: 20.30, 2: 30.33, 3: 0.267, 4: 0.278, 5: 1.08, 6: 0.043, 7: 0.110, 8: 10.74, 10: 7.16}
SYNTHIA |= {11: 4.42, 12: 0.488, 13: 4.26, 15: 1.46, 17: 0.211, 18: 0.217}
DRAWN = {6: 0.154, 7: 0.144, 17: 0.131, 18: 0.130, 3: 0.123, 4: 0.122, 12: 0.099, 5: 0.055, 15: 0.038, 13: 0.0023}


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Forty labels of 20 × 20: sky everywhere, a car of 64 pixels in every fifth, a pole of 16 in every tenth."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    for folder in ('img', 'label'):
        (tmp_path / folder).mkdir()
    for number in range(40):
        label = np.zeros((20, 20), np.uint8)
        label[15:] = 255
        if number % 5 == 0:
            label[:8, :8] = 1
        if number % 10 == 0:
            label[8:12, :4] = 2
        cv2.imwrite(str(tmp_path / 'label' / f'{number:02}.png'), label)
        cv2.imwrite(str(tmp_path / 'img' / f'{number:02}.png'), np.zeros((20, 20, 3), np.uint8))
    return DATASETS.build(
        dict(
            type='BaseSegDataset',
            data_root=str(tmp_path),
            data_prefix=dict(img_path='img', seg_map_path='label'),
            img_suffix='.png',
            seg_map_suffix='.png',
            metainfo=dict(classes=('sky', 'car', 'pole')),
            pipeline=[
                dict(type='LoadImage'),
                dict(type='LoadAnnotations'),
                dict(type='RandomCrop', crop_size=(10, 10)),
                dict(type='PackSegInputs'),
            ],
        )
    )


def test_probabilities_are_those_of_daformer_on_synthia():
    pixels = np.zeros(19)
    for number, share in SYNTHIA.items():
        pixels[number] = share
    probabilities = class_probabilities(pixels, 0.01, pixels > 0)
    assert probabilities.sum() == pytest.approx(1)
    for number, probability in DRAWN.items():
        assert probabilities[number] == pytest.approx(probability, abs=6e-4)


def test_counts_are_those_of_the_files_and_are_kept(dataset, tmp_path):
    counts = count_classes(dataset)
    expected = []
    for number in range(40):
        label = cv2.imread(str(tmp_path / 'label' / f'{number:02}.png'), cv2.IMREAD_UNCHANGED)
        expected.append([(label == index).sum() for index in range(3)])
    assert counts.tolist() == expected
    (kept,) = (tmp_path / 'cache' / 'cda_mmseg').glob('*.npz')
    changed = counts + 1
    np.savez(kept, counts=changed)
    assert count_classes(dataset).tolist() == changed.tolist()
    kept.write_bytes(kept.read_bytes()[:99])  # a full disk, a crash
    assert count_classes(dataset).tolist() == expected
    cv2.imwrite(str(tmp_path / 'label' / '00.png'), np.ones((20, 20), np.uint8))
    assert count_classes(dataset)[0].tolist() == [0, 400, 0]


def test_counts_of_joined_and_repeated_data_sets_are_those_of_their_samples(dataset):
    counts = count_classes(dataset)
    joined = JoinedDataset([dataset, JoinedDataset([RepeatDataset(dataset, 2)], ['b'])], ['a', 'b'])
    assert count_classes(joined).tolist() == np.concatenate([counts] * 3).tolist()
    assert len(RareClassOrder(joined, seed=4, temperature=0.5, min_pixels=15).probabilities) == 3


def test_classes_and_images_are_drawn_as_often_as_they_should(dataset):
    order = RareClassOrder(dataset, seed=4, temperature=0.5, min_pixels=15)
    drawn = Counter(order.index(position) for position in range(4000))
    counts = count_classes(dataset)
    pixels = counts.sum(axis=0)
    weights = np.exp((1 - pixels / pixels.sum()) / 0.5)
    expected = np.zeros(40)
    for probability, images in zip(weights / weights.sum(), (counts > 15).T, strict=True):
        expected += probability * images / images.sum()
    assert order.probabilities == pytest.approx(weights / weights.sum())
    for number in range(40):
        assert abs(drawn[number] / 4000 - expected[number]) < 5 * (expected[number] / 4000) ** 0.5


def test_a_position_has_its_sample_on_any_number_of_processes(dataset):
    whole = [RareClassOrder(dataset, 4, 0.5, 15).index(position) for position in range(60)]
    order = RareClassOrder(dataset, 4, 0.5, 15)
    assert [order.index(position) for position in reversed(range(60))] == whole[::-1]


def test_crops_are_drawn_anew_until_enough_of_the_class_is_in_them(dataset):
    """With forty draws nearly every crop has most of the car, where one draw mostly has not."""
    shares = {}
    for draws in (1, 40):
        order = RareClassOrder(dataset, 4, temperature=0.01, min_pixels=50, min_crop_share=0.8, max_draws=draws)
        positioned = PositionedDataset(dataset, 4, order=order)
        cars = [position for position in range(60) if order._class_at(position)[0] == 1]
        taken = [int((positioned[position]['data_samples'].gt_sem_seg.data == 1).sum()) > 40 for position in cars]
        shares[draws] = np.mean(taken)
        again = PositionedDataset(dataset, 4, order=order)
        for position in cars[:3]:
            one, other = (data[position]['data_samples'].gt_sem_seg.data for data in (positioned, again))
            assert (one == other).all()
    assert shares[1] < 0.3 and shares[40] > 0.9, shares


def test_classes_without_an_image_are_never_drawn(dataset):
    order = RareClassOrder(dataset, 4, temperature=0.5, min_pixels=20)
    assert order.probabilities[2] == 0 and order.probabilities[1] > 0


def test_a_temperature_that_draws_two_classes_only_is_warned_of(dataset, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    RareClassOrder(dataset, 4, temperature=0.01, min_pixels=10)
    logger.removeHandler(caplog.handler)
    assert 'for the sake of two classes' in caplog.text
    assert 'probabilities: ' in caplog.text


def test_wrong_use_is_named(dataset):
    with pytest.raises(ValueError, match='min_pixels=9999'):
        RareClassOrder(dataset, 0, min_pixels=9999)
    with pytest.raises(ValueError, match='temperature > 0'):
        RareClassOrder(dataset, 0, temperature=0)
    dataset.pipeline.transforms = dataset.pipeline.transforms[:1]
    with pytest.raises(TypeError, match='BaseSegDataset reads no labels'):
        RareClassOrder(dataset, 0)
