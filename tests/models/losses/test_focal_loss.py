import math

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from cda_mmseg.models.losses import SoftmaxCrossEntropyLoss, SoftmaxFocalLoss
from tests.models.losses import loss_reference as reference

PROBABILITIES = [1e-30, 1e-9, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999, 1 - 1e-6]


@pytest.mark.parametrize(('dtype', 'tolerance'), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize(('alpha', 'gamma'), [(5, 2), (1, 0.5), (1, 0), (2, 5)])
def test_value_and_gradient_agree_with_mpmath(alpha, gamma, dtype, tolerance):
    loss = SoftmaxFocalLoss(alpha=alpha, gamma=gamma, reduction='none')
    scores = torch.from_numpy(reference.scores_with_probability(PROBABILITIES, 5, seed=3, dtype=dtype)).requires_grad_()
    values = loss(scores, torch.zeros(len(PROBABILITIES), dtype=torch.int64))
    (gradients,) = torch.autograd.grad(values.sum(), scores)
    for row, value, gradient in zip(scores.tolist(), values.tolist(), gradients.tolist(), strict=True):
        expected_value, expected_gradient = reference.mp_value_and_gradient(
            reference.mp_focal(alpha, gamma), row, label=0
        )
        allowed = tolerance * max(abs(expected_value), 1)
        assert abs(value - expected_value) <= allowed
        assert np.abs(np.subtract(gradient, expected_gradient)).max() <= allowed


def test_cross_entropy_agrees_with_mpmath_near_certainty():
    # log_softmax in float32 is wrong by 5 % here and 0 a little further on.
    scores = torch.tensor([[13.8, 0.0], [30.0, 0.0]], requires_grad=True)
    loss = SoftmaxCrossEntropyLoss(reduction='none')
    values = loss(scores, torch.zeros(2, dtype=torch.int64))
    for row, value in zip(scores.tolist(), values.tolist(), strict=True):
        expected, _ = reference.mp_value_and_gradient(reference.mp_cross_entropy, row, label=0)
        assert value == pytest.approx(expected, rel=2e-6)


def test_gamma_zero_is_cross_entropy():
    torch.manual_seed(0)
    scores, label = torch.randn(2, 4, 3, 3), torch.randint(0, 4, (2, 3, 3))
    assert SoftmaxFocalLoss(alpha=1, gamma=0)(scores, label) == SoftmaxCrossEntropyLoss()(scores, label)


@pytest.mark.parametrize('options', [{'alpha': -1}, {'gamma': -0.5}, {'gamma': math.nan}])
def test_bad_settings_are_named(options):
    (key,) = options
    with pytest.raises(ValueError, match=f'^SoftmaxFocalLoss: {key} '):
        SoftmaxFocalLoss(**options)


def test_built_from_a_config():
    loss = MODELS.build({'type': 'SoftmaxFocalLoss'})
    assert (loss.alpha, loss.gamma, loss.loss_name) == (5, 2, 'loss_focal')
    assert repr(loss).startswith('SoftmaxFocalLoss(alpha=5, gamma=2, loss_weight=1')
