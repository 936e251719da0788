import math

import mpmath
import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from mpmath import mpf

from cda_mmseg.models.losses import ConservativeLoss, CubicLoss, PiecewiseCubicLoss
from tests.models.losses import loss_reference as reference

PROBABILITIES = [1e-30, 1e-9, 1e-3, 0.1, 0.3, 1 / math.e, 0.37, 0.5, 0.5001, 0.7, 0.9, 0.999, 1 - 1e-6]


def check_against_mpmath(loss, function, dtype, tolerance):
    scores = torch.from_numpy(reference.scores_with_probability(PROBABILITIES, 5, seed=3, dtype=dtype)).requires_grad_()
    values = loss(scores, torch.zeros(len(PROBABILITIES), dtype=torch.int64), reduction_override='none')
    (gradients,) = torch.autograd.grad(values.sum(), scores)
    for row, value, gradient in zip(scores.tolist(), values.tolist(), gradients.tolist(), strict=True):
        expected_value, expected_gradient = reference.mp_value_and_gradient(function, row, label=0)
        allowed = tolerance * max(abs(expected_value), 1)
        assert abs(value - expected_value) <= allowed
        assert np.abs(np.subtract(gradient, expected_gradient)).max() <= allowed


precisions = pytest.mark.parametrize(('dtype', 'tolerance'), [(np.float32, 1e-5), (np.float64, 1e-12)])


@precisions
@pytest.mark.parametrize('intersection', [0.5, 1 / math.e, 0.2])
def test_cubic_agrees_with_mpmath(intersection, dtype, tolerance):
    loss = CubicLoss(intersection=intersection, loss_weight=1)
    check_against_mpmath(loss, reference.mp_cubic(intersection), dtype, tolerance)


@precisions
def test_piecewise_cubic_agrees_with_mpmath(dtype, tolerance):
    loss = PiecewiseCubicLoss(alpha=7.0, beta=2.0, intersection=0.4)
    check_against_mpmath(loss, reference.mp_piecewise_cubic(7, 2, 0.4), dtype, tolerance)


def test_default_weights_are_the_taylor_term_and_the_fit():
    def five_cl(p):
        return 5 * (1 + mpmath.log(p)) ** 2 * mpmath.log(-mpmath.log(p))

    def fitted(c, low, high):
        points = mpmath.linspace(low, high, 5)
        upper = mpmath.quad(lambda p: five_cl(p) * (p - c) ** 3, points)
        return -upper / mpmath.quad(lambda p: (p - c) ** 6, points)

    with mpmath.workdps(30):
        c = 1 / mpmath.e
        # CL(c) = CL'(c) = CL''(c) = 0, so the cubic term leads.
        taylor = mpmath.taylor(five_cl, c, 3)
        assert all(abs(term) < 1e-15 for term in taylor[:3])
        assert CubicLoss().loss_weight == pytest.approx(-float(taylor[3]), rel=1e-9)
        assert PiecewiseCubicLoss().alpha == pytest.approx(-float(taylor[3]), rel=1e-9)
        half = fitted(mpf('0.5'), mpf('0.05'), mpf('0.95'))
        assert CubicLoss(intersection=0.5).loss_weight == pytest.approx(float(half), rel=1e-12)
        assert PiecewiseCubicLoss().beta == pytest.approx(float(fitted(c, c, mpf('0.95'))), rel=1e-12)


def test_defaults_stand_beside_the_conservative_loss():
    p = torch.linspace(0.3, 0.45, 31, dtype=torch.float64)
    log_odds = torch.log1p(-p) - torch.log(p)
    target = 5 * ConservativeLoss().value_and_slope(log_odds)[0]
    loss = CubicLoss()
    value = loss.loss_weight * loss.value_and_slope(log_odds)[0]
    assert (value - target).abs().max() < 0.05
    assert CubicLoss(intersection=0.36787944117).loss_weight == pytest.approx(5 * math.e**3)


def test_branches_of_the_piecewise_loss_meet_flat():
    loss = PiecewiseCubicLoss(intersection=0.5)
    value, slope = loss.value_and_slope(torch.tensor([-1e-4, 0.0, 1e-4], dtype=torch.float64))
    assert value.abs().max() < 1e-10 and slope.abs().max() < 1e-6
    assert value[0] < 0 == value[1] < value[2]


@pytest.mark.parametrize(
    ('build', 'words'),
    [
        (lambda: CubicLoss(intersection=0.3), 'CubicLoss: loss_weight .* 0.3'),
        (lambda: CubicLoss(intersection=1.5), 'CubicLoss: intersection .* at most 1'),
        (lambda: CubicLoss(loss_weight=math.nan), 'CubicLoss: loss_weight .* nan'),
        (lambda: PiecewiseCubicLoss(alpha=-1), 'PiecewiseCubicLoss: alpha .* -1'),
        (lambda: PiecewiseCubicLoss(beta=math.inf), 'PiecewiseCubicLoss: beta .* inf'),
        (lambda: PiecewiseCubicLoss(intersection=-0.1), 'PiecewiseCubicLoss: intersection .* at least 0'),
    ],
)
def test_bad_settings_are_named(build, words):
    with pytest.raises(ValueError, match=f'^{words}'):
        build()


def test_built_from_configs():
    cubic = MODELS.build({'type': 'CubicLoss', 'intersection': 0.5})
    piecewise = MODELS.build({'type': 'PiecewiseCubicLoss', 'loss_weight': 2.0})
    assert (cubic.loss_name, piecewise.loss_name) == ('loss_cubic', 'loss_piecewise_cubic')
    assert repr(cubic).startswith('CubicLoss(intersection=0.5, loss_weight=136.167')
    assert repr(piecewise).startswith('PiecewiseCubicLoss(alpha=100.428, beta=60.2513, intersection=0.367879')
