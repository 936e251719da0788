"""What the figures of the losses show, against mpmath and closed forms."""

import math

import mpmath
import numpy as np
import pytest
from scipy.special import expit

from cda_mmseg.models.losses import ConservativeLoss, CubicLoss, PiecewiseCubicLoss, SoftmaxFocalLoss
from cda_mmseg.paper.loss_curves import evaluate_loss, find_probability, follow_descent, low_loss_range
from cda_mmseg.paper.loss_figures import BASES, LOSS_FIGURES
from cda_mmseg.visualization.figures import save_figure


def conservative(probability, base=math.e):
    """Eq. 2 with as many digits as mpmath works with."""
    surprise = -mpmath.log(mpmath.mpf(probability), base)
    return (1 - surprise) ** 2 * mpmath.log(surprise, base)


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith('_')}


@pytest.mark.parametrize('base', BASES.values())
def test_curves_are_eq_3_and_its_derivative(base):
    probability = np.array([1e-6, 0.01, 0.1, 0.3, 0.5, 0.6, 0.9, 0.99])
    curve = evaluate_loss(ConservativeLoss(base=base, loss_weight=3), probability)
    values = [float(3 * conservative(p, base)) for p in probability]
    # dp/dz = p (1 - p)
    with mpmath.workdps(30):
        slopes = [float(3 * mpmath.diff(lambda p: conservative(p, base), p) * p * (1 - p)) for p in probability]
    np.testing.assert_allclose(curve.value, values, rtol=1e-10)
    np.testing.assert_allclose(curve.gradient, slopes, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize('base', BASES.values())
def test_low_loss_range_is_where_the_equation_says(base):
    low, high = low_loss_range(ConservativeLoss(base=base, loss_weight=1), 0.1)
    assert float(conservative(low, base)) == pytest.approx(0.1, abs=1e-9)
    assert float(conservative(high, base)) == pytest.approx(-0.1, abs=1e-9)


def test_a_value_that_is_never_taken_is_refused():
    with pytest.raises(ValueError, match='different signs'):
        find_probability(CubicLoss(0.5, loss_weight=1), 2.0)


def test_descent_ends_where_the_readings_say():
    times = np.array([0.0, 1e3])
    ends = {
        (reading, start): follow_descent(ConservativeLoss(loss_weight=1, gradient=reading), start, times)[-1]
        for reading in ('literal', 'reversed', 'weighted')
        for start in (0.05, 0.9)
    }
    # Literal descent halts at 1/e from below and runs to 1 from above; the other two come back to 1/e.
    assert ends['literal', 0.05] == pytest.approx(1 / math.e, abs=0.01)
    assert ends['literal', 0.9] > 0.999999
    assert ends['reversed', 0.9] == pytest.approx(1 / math.e, abs=0.01)
    assert 1 / math.e < ends['weighted', 0.9] < 0.42


def test_every_line_is_a_loss(tmp_path):
    figures = {name: draw() for name, draw in LOSS_FIGURES.items()}
    for name, figure in figures.items():
        assert [file.stat().st_size > 1000 for file in save_figure(figure, tmp_path / name, ('.png', '.svg'))]
        assert max(file.stat().st_size for file in tmp_path.iterdir()) < 200_000

    lines = lines_of(figures['fig3'].axes[0])
    assert list(lines) == [f'$a$ = {name}' for name in BASES]
    for line, base in zip(lines.values(), BASES.values(), strict=True):
        p, value = line.get_xdata()[123], line.get_ydata()[123]
        assert value == pytest.approx(float(conservative(p, base)), rel=1e-9)
    dots = [line.get_xdata()[0] for line in figures['fig3'].axes[0].lines if line.get_marker() == 'o']
    np.testing.assert_allclose(dots, [1 / base for base in BASES.values()])

    cross_entropy, focal, cl = (line.get_ydata() for line in lines_of(figures['fig5'].axes[0]).values())
    p = lines_of(figures['fig5'].axes[0])['cross entropy'].get_xdata()
    np.testing.assert_allclose(cross_entropy, -np.log(p), rtol=1e-9)
    np.testing.assert_allclose(focal, -5 * (1 - p) ** 2 * np.log(p), rtol=1e-9)
    np.testing.assert_allclose(cl, 5 * (1 + np.log(p)) ** 2 * np.log(-np.log(p)), rtol=1e-6, atol=1e-12)

    _, half, inverse_e, piecewise = (line.get_ydata() for line in lines_of(figures['cubics'].axes[0]).values())
    np.testing.assert_allclose(half, -136.16737933667960 * (p - 0.5) ** 3, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(inverse_e, -5 * math.e**3 * (p - 1 / math.e) ** 3, rtol=1e-9, atol=1e-12)
    factor = np.where(p < 1 / math.e, 5 * math.e**3, PiecewiseCubicLoss().beta)
    np.testing.assert_allclose(piecewise, -factor * (p - 1 / math.e) ** 3, rtol=1e-9, atol=1e-12)


def test_readings_differ_above_the_intersection_only_in_sign_and_weight():
    figure = LOSS_FIGURES['readings']()
    literal, backwards, weighted, cross_entropy = lines_of(figure.axes[0]).values()
    p = literal.get_xdata()
    high = p > 1 / math.e
    np.testing.assert_allclose(backwards.get_ydata(), np.where(high, -1, 1) * literal.get_ydata(), rtol=1e-12)
    np.testing.assert_allclose(cross_entropy.get_ydata(), 1 - p, rtol=1e-9)
    wanted = (1 + np.log(p)) ** 2 * np.log(-np.log(p)) * (1 - p)
    np.testing.assert_allclose(weighted.get_ydata(), wanted, rtol=1e-6, atol=1e-12)
    # The right panel shows the same over the log-odds.
    right = next(line for line in figure.axes[1].lines if len(line.get_xdata()) > 2)
    curve = evaluate_loss(ConservativeLoss(loss_weight=1), expit(right.get_xdata()[::50]))
    np.testing.assert_allclose(right.get_ydata()[::50], -curve.gradient)


def test_lemma_2_bars_and_their_labels():
    bars = LOSS_FIGURES['lemma2']().axes[1]
    shares = [bar.get_width() for bar in bars.patches]
    np.testing.assert_allclose(shares, [0.28160, 0.33907, 0.34944, 0.36336], atol=1e-5)
    assert [text.get_text() for text in bars.texts] == ['28.2 %', '33.9 %', '34.9 %', '36.3 %']


def test_clamp_after_the_weight_leaves_a_fresh_network_without_a_gradient():
    before, after = lines_of(LOSS_FIGURES['clamp']().axes[0]).values()
    start = 1 / 19
    assert np.interp(start, before.get_xdata(), before.get_ydata()) > 20
    assert np.interp(start, after.get_xdata(), after.get_ydata()) == 0
    dead = after.get_xdata()[after.get_ydata() == 0]
    assert dead[dead < 0.5].max() == pytest.approx(0.0835, abs=1e-4)
    assert dead[dead > 0.5].min() == pytest.approx(0.9143, abs=1e-4)


def test_gradients_of_other_losses_are_scaled_alike():
    curve = evaluate_loss(SoftmaxFocalLoss(alpha=5, gamma=0), np.array([0.25]))
    assert curve.gradient[0] == pytest.approx(-5 * 0.75)
