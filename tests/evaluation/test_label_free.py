"""Scores without labels, against NumPy written down plainly."""

import math

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from cda_mmseg.evaluation import PixelProbabilities, label_free


def draw(pixels: int = 60, classes: int = 5, sharpness: float = 3.0) -> tuple[torch.Tensor, np.ndarray]:
    scores = sharpness * torch.randn(pixels, classes)
    exponentials = np.exp(scores.double().numpy())
    return scores.softmax(1), exponentials / exponentials.sum(1, keepdims=True)


def entropies(rows: np.ndarray) -> np.ndarray:
    return -(rows * np.log(rows)).sum(1) / np.log(rows.shape[1])


def test_entropy_and_information():
    ours, rows = draw()
    assert label_free.entropy(ours) == pytest.approx(entropies(rows).mean(), rel=1e-5)
    expected = entropies(rows.mean(0, keepdims=True))[0] - entropies(rows).mean()
    assert label_free.information(ours) == pytest.approx(expected, rel=1e-5)


def test_certainty_is_no_nan():
    collapsed = torch.eye(4)[[0] * 10]
    assert (label_free.entropy(collapsed), label_free.information(collapsed)) == (0, 0)
    spread = torch.eye(4)[[0, 1, 2, 3]]
    assert (label_free.entropy(spread), label_free.information(spread)) == (0, pytest.approx(1))
    # Dense however wrong: what the table's note says of a collapse.
    assert label_free.neighbourhood_density(collapsed) == pytest.approx(math.log(9))


def test_neighbourhood_density():
    ours, rows = draw(40)
    total = 0
    for i in range(40):
        cosines = [rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j]) for j in range(40) if j != i]
        weights = np.exp(np.array(cosines) / 0.05)
        weights /= weights.sum()
        total -= (weights * np.log(weights)).sum()
    assert label_free.neighbourhood_density(ours) == pytest.approx(total / 40, rel=1e-4)
    few = label_free.neighbourhood_density(ours[[0, 13, 26, 39]])
    assert label_free.neighbourhood_density(ours, most=4) == pytest.approx(few)


def test_agreement_with_an_ensemble():
    predicted, agreed = torch.randint(4, (2, 200))
    agreed[agreed == 3] = 2
    predicted[predicted == 3] = 1
    ious = []
    for each in range(3):
        one, other = predicted.numpy() == each, agreed.numpy() == each
        ious.append((one & other).sum() / (one | other).sum())
    # Two classes that neither has do not count.
    assert label_free.agreement(predicted.to(torch.uint8), agreed, 5) == pytest.approx(np.mean(ious))


def test_share_drift():
    one, other = torch.randint(5, (2, 300))
    shares = [np.array([(ids.numpy() == each).mean() for each in range(5)]) for ids in (one, other)]
    ours = [label_free.class_shares(ids, 5) for ids in (one, other)]
    np.testing.assert_allclose(ours[0], shares[0], rtol=1e-6)
    assert label_free.share_drift(*ours) == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)


@pytest.mark.parametrize('channels', [1, 3])
def test_probabilities_of_the_same_pixels_of_every_network(channels):
    images = torch.rand(2, channels, 6, 7)
    found = []
    for shift in (0.0, 1.0):  # softmax does not see it
        metric = PixelProbabilities(pixels=500)
        for domain, scores in zip(('target_day', 'source'), images, strict=True):
            sample = SegDataSample(
                metainfo=dict(domain=domain), seg_logits=PixelData(data=scores + shift * (channels > 1))
            )
            metric.process({}, [sample.to_dict()])
        assert metric.evaluate(2) == {}
        found.append(metric.found)
    for role, scores in zip(('target', 'source'), images, strict=True):
        torch.testing.assert_close(found[0][role], found[1][role])
        rows = scores.flatten(1).T
        rows = torch.cat([1 - rows, rows], 1) if channels == 1 else rows.softmax(1)
        assert found[0][role].shape == (500, max(2, channels))
        # Each sampled pixel is one of the image, and all of its 42 are among 500.
        distances = (found[0][role][:, None] - rows).abs().amax(2)
        assert distances.amin(1).max() < 1e-6 and distances.amin(0).max() < 1e-6
