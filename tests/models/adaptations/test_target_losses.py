"""Losses of the target's predictions against NumPy and plain PyTorch steps."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from benchmarks.naive_methods import PlainTargetLoss, image_wise, max_square, minent
from tests.models.adaptations.plain_step import config, train, train_plainly
from tests.models.segmentors.tiny_model import build, double_precision
from tests.models.segmentors.trained import differences

init_default_scope('mmseg')


def test_minent_of_two_heads_equals_a_plain_step():
    settings = dict(main=dict(type='MinEnt', weight=0.1), second=dict(type='MinEnt', head='aux', weight=0.02))
    ours, naive = (build(config(two_heads=True, **settings)) for _ in range(2))
    log = train(ours)[0]
    train_plainly(PlainTargetLoss(naive, [(0, 0.1, minent), (1, 0.02, minent)]))
    assert differences(ours, naive) == {}
    assert 0 < log['target.loss_entropy_decode'] <= 0.1 and 0 < log['target.loss_entropy_aux'] <= 0.02


def test_max_square_equals_a_plain_step_bit_for_bit():
    ours, naive = (build(config(one=dict(type='MaxSquare', weight=0.1, ratio=None))) for _ in range(2))
    train(ours)
    train_plainly(PlainTargetLoss(naive, [(0, 0.1, max_square)]))
    assert differences(ours, naive) == {}


def in_double_precision(plain, **settings):
    ours, naive = (build(config(one=dict(type='MaxSquare', weight=0.1, **settings)), torch.float64) for _ in range(2))
    ours.data_preprocessor.forward = double_precision(ours.data_preprocessor.forward)
    train(ours)
    train_plainly(PlainTargetLoss(naive, [(0, 0.1, plain)]))
    return max(differences(ours, naive).values(), default=0)


def test_image_wise_weights_equal_a_plain_step():
    assert in_double_precision(image_wise) < 1e-10


def test_equality_can_fail():
    """With the 1/2 that image-wise weights do not have."""
    assert in_double_precision(lambda probabilities: image_wise(probabilities, half=0.5)) > 1e-5
    assert in_double_precision(image_wise, ratio=0.3) > 1e-7


def loss_of(probabilities, **settings):
    return MODELS.build(dict(weight=1.0, **settings)).loss(probabilities)


def test_losses_against_numpy():
    probabilities = (3 * torch.randn(2, 5, 6, 7, dtype=torch.float64)).softmax(1)
    p = probabilities.numpy()
    entropy = -(p * np.log2(p + 1e-30)).sum() / (2 * 6 * 7 * np.log2(5))
    assert loss_of(probabilities, type='MinEnt').item() == pytest.approx(entropy, rel=1e-13)
    squares = -(p**2).sum() / (2 * 2 * 6 * 7)
    assert loss_of(probabilities, type='MaxSquare', ratio=None).item() == pytest.approx(squares, rel=1e-13)
    weighted = 0.0
    for image in p:
        winners = image.argmax(0)
        for c in range(5):
            inside = winners == c
            if inside.any():
                weighted -= (image[:, inside] ** 2).sum() / (inside.sum() ** 0.2 * 42**0.8)
    assert loss_of(probabilities, type='MaxSquare').item() == pytest.approx(weighted / 2, rel=1e-12)


def test_constants_of_the_publications():
    """Entropy in [0, 1]; MaxSquare by pixels and not by classes, 1/2 without image-wise weights only."""
    uniform = torch.full((2, 19, 4, 4), 1 / 19)
    sure = torch.zeros(2, 19, 4, 4)
    sure[:, 3] = 1
    assert loss_of(uniform, type='MinEnt').item() == pytest.approx(1, rel=1e-5)
    assert loss_of(sure, type='MinEnt').item() == 0
    assert loss_of(sure, type='MaxSquare', ratio=None).item() == -0.5
    # The released code gives -1 / C here: its lambda is ours times the number of classes.
    assert loss_of(sure, type='MaxSquare', ratio=0.2).item() == pytest.approx(-1)
    assert loss_of(sure, type='MaxSquare', ratio=0).item() == pytest.approx(-1)
    assert loss_of(uniform, type='MaxSquare', ratio=None).item() == pytest.approx(-0.5 / 19, rel=1e-5)


def test_no_gradient_goes_through_the_weights_and_rare_classes_weigh_more():
    scores = torch.zeros(1, 2, 1, 10, requires_grad=True)
    with torch.no_grad():
        scores[0, 0, 0, :9] = 1
        scores[0, 1, 0, 9:] = 1
    loss_of(scores.softmax(1), type='MaxSquare').backward()
    common, rare = scores.grad[0, 0, 0, 0].abs(), scores.grad[0, 1, 0, 9].abs()
    assert (rare / common).item() == pytest.approx(9**0.2, rel=1e-5)
    p = 1 / (1 + math.exp(-1))
    # d/dz of -w (p^2 + q^2) with p = 1 - q: -2 w p q (p - q)
    assert common.item() == pytest.approx(2 * p * (1 - p) * (2 * p - 1) / (9**0.2 * 10**0.8), rel=1e-5)


def test_a_sure_pixel_has_a_finite_gradient():
    scores = torch.tensor([200.0, 0.0, -200.0]).view(1, 3, 1, 1).requires_grad_()
    for kind in (dict(type='MinEnt'), dict(type='MaxSquare')):
        loss_of(scores.softmax(1), **kind).backward()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(type='MinEnt', weight=-1), 'MinEnt: weight must be'),
        (dict(type='MaxSquare', weight=1, ratio=2), 'MaxSquare: ratio must be'),
        (dict(type='MinEnt', weight=1, head='aux'), r"MinEnt: head='aux' is none"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(config(one=settings))
