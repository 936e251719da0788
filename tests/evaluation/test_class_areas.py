import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cda_mmseg.evaluation.class_areas import (
    GROUND_TRUTH,
    INTERSECTION,
    PREDICTION,
    PREDICTION_EVERYWHERE,
    class_areas,
    count_class_table,
)


def areas_of(*arguments):
    return torch.from_numpy(class_areas(count_class_table(*arguments).numpy()))


def areas_by_masks(prediction, ground_truth, num_classes, ignore_index):
    """Count with one boolean mask per class and area."""
    scored = np.zeros_like(prediction, dtype=bool) if ground_truth is None else ground_truth != ignore_index
    areas = np.zeros((4, num_classes), dtype=np.int64)
    for index in range(num_classes):
        predicted = prediction == index
        true = np.zeros_like(predicted) if ground_truth is None else (ground_truth == index) & scored
        areas[INTERSECTION, index] = (predicted & true).sum()
        areas[PREDICTION, index] = (predicted & scored).sum()
        areas[GROUND_TRUTH, index] = true.sum()
        areas[PREDICTION_EVERYWHERE, index] = predicted.sum()
    return areas


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(0, 9), st.integers(1, 9)),
    num_classes=st.one_of(st.integers(2, 20), st.sampled_from([127, 128, 129, 150, 200])),
    # An ignore index within the classes takes that class out of the score, as mmseg does.
    ignore_index=st.sampled_from([0, 1, 254, 255, 300]),
    prediction_dtype=st.sampled_from([torch.uint8, torch.int32, torch.int64, torch.float32]),
    label_dtype=st.sampled_from([torch.uint8, torch.int16, torch.int64]),
    labeled=st.booleans(),
    channel=st.booleans(),
)
def test_areas_equal_masks(seed, size, num_classes, ignore_index, prediction_dtype, label_dtype, labeled, channel):
    rng = np.random.default_rng(seed)
    if label_dtype is torch.uint8:
        ignore_index = min(ignore_index, 255)
    prediction = rng.integers(num_classes, size=size)
    ground_truth = np.where(rng.random(size) < 0.3, ignore_index, rng.integers(num_classes, size=size))
    areas = areas_of(
        torch.from_numpy(prediction).to(prediction_dtype).reshape((1, *size) if channel else size),
        torch.from_numpy(ground_truth).to(label_dtype) if labeled else None,
        num_classes,
        ignore_index,
    )
    assert areas.dtype == torch.int64
    expected = areas_by_masks(prediction, ground_truth if labeled else None, num_classes, ignore_index)
    np.testing.assert_array_equal(areas.numpy(), expected)


def test_a_view_of_a_larger_tensor_is_read_in_its_own_order():
    whole = torch.arange(24).reshape(4, 6) % 3
    areas = areas_of(whole[:, ::2], whole.t()[:3].t(), 3)
    np.testing.assert_array_equal(areas.numpy(), areas_by_masks(whole[:, ::2].numpy(), whole[:, :3].numpy(), 3, 255))


@pytest.mark.parametrize(
    ('prediction', 'ground_truth', 'message'),
    [
        ([[0, 3]], [[0, 0]], r'predicted class 3 is outside \[0, 3\)'),
        ([[0, -1]], [[0, 0]], r'predicted class -1 is outside \[0, 3\)'),
        ([[0, 3]], None, r'predicted class 3 is outside \[0, 3\)'),
        ([[0, 1]], [[0, 7]], r'ids \[7\] are neither one of the 3 classes nor the ignore index 255'),
        ([[0, 1]], [[0, 256]], r'ground-truth id 256 is outside \[0, 256\)'),
        ([[0, 1]], [[0, -1]], r'ground-truth id -1 is outside'),
        ([[0, 1]], [[0], [1]], r'prediction is \(1, 2\) pixels \(height, width\), the ground truth \(2, 1\)'),
    ],
)
def test_what_does_not_fit_is_refused(prediction, ground_truth, message):
    with pytest.raises(ValueError, match=message):
        areas_of(torch.tensor(prediction), None if ground_truth is None else torch.tensor(ground_truth), 3)


def test_more_pixels_than_float32_can_count():
    # 2 ** 24 + 1 is the first whole number that float32 does not have.
    ids = torch.zeros(1, 2**24 + 1, dtype=torch.uint8)
    assert areas_of(ids, ids, 2)[INTERSECTION, 0] == 2**24 + 1
