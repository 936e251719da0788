import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import MODELS

from cda_mmseg.models.losses import ConservativeLoss, WarmStartLoss
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.losses import loss_reference as reference

READINGS = ('literal', 'reversed', 'weighted')
# From 1e-30 to 1 - 1e-6, with the neighbourhood of 1/a for each base.
PROBABILITIES = [
    *(10.0**-k for k in (30, 20, 12, 9, 8, 6, 4, 3, 2)),
    *(0.05, 0.1, 0.2, 0.25, 0.2501, 0.3, 1 / 3, 1 / math.e, 0.368, 0.4, 0.5, 0.50001, 0.6, 0.7, 0.9, 0.95),
    *(1 - 10.0**-k for k in (2, 3, 4, 5, 6)),
]


def value_and_gradient(loss, scores, label, **kwargs):
    scores = torch.as_tensor(scores).clone().requires_grad_()
    value = loss(scores, torch.as_tensor(label), **kwargs)
    (gradient,) = torch.autograd.grad(value.sum(), scores)
    return value.detach(), gradient


@pytest.mark.parametrize('reading', READINGS)
@pytest.mark.parametrize('base', [2, math.e, 4, 1.2])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_value_and_gradient_agree_with_mpmath(dtype, tolerance, base, reading):
    scores = reference.scores_with_probability(PROBABILITIES, num_classes=5, seed=1, dtype=dtype)
    label = np.zeros(len(scores), dtype=np.int64)
    loss = ConservativeLoss(base=base, loss_weight=1, gradient=reading, reduction='none')
    values, gradients = value_and_gradient(loss, scores, label)
    assert values.numpy().dtype == dtype and gradients.numpy().dtype == dtype
    for row, value, gradient in zip(scores, values.tolist(), gradients.tolist(), strict=True):
        expected_value, expected_gradient = reference.mp_value_and_gradient(
            reference.mp_conservative(base), row, label=0, reading=reading
        )
        allowed = tolerance * max(abs(expected_value), 1)
        assert abs(value - expected_value) <= allowed
        assert np.abs(np.subtract(gradient, expected_gradient)).max() <= allowed


@pytest.mark.parametrize(
    ('probability', 'value', 'gradient'),
    [
        (1e-6, 431, -79.2),
        (0.01, 19.85, -13.7),
        (0.1, 1.415, -2.62),
        (0.3, 0.0077, -0.077),
        (1 / math.e, 0, 0),
        (0.5, -0.0345, -0.180),
        (0.6, -0.1607, -0.4503),  # the paper prints -.06
        (0.9, -1.801, -1.162),
        (0.99, -4.51, -1.066),
    ],
)
def test_tabulated_values(probability, value, gradient):
    scores = torch.tensor([[math.log(probability), math.log1p(-probability)]], dtype=torch.float64)
    values, gradients = value_and_gradient(ConservativeLoss(loss_weight=1), scores, [0])
    assert values.item() == pytest.approx(value, rel=5e-3, abs=1e-9)
    assert gradients[0, 0].item() == pytest.approx(gradient, rel=5e-3, abs=1e-9)


def test_limits_at_probability_zero_and_one():
    # No float32 can tell these probabilities from 1 and 0, but Eq. 3 as a function of the scores is finite there.
    scores = np.array([[1e3, 0.0, -3.0], [-1e3, 0.0, 1.0], [2e4, 1.9e4, 1.9e4]], dtype=np.float32)
    values, gradients = value_and_gradient(ConservativeLoss(loss_weight=1, reduction='none'), scores, [0, 0, 0])
    for row, value, gradient in zip(scores, values.tolist(), gradients.tolist(), strict=True):
        expected_value, expected_gradient = reference.mp_value_and_gradient(
            reference.mp_conservative(), row, label=0, digits=1000
        )
        assert value == pytest.approx(expected_value, rel=1e-6)
        assert gradient == pytest.approx(expected_gradient, rel=1e-5, abs=1e-6)
    # The limits: CL grows like ln(s) at s = -ln p_t -> 0 and like s² ln(s) at s -> infinity.
    values, gradients = value_and_gradient(
        ConservativeLoss(loss_weight=1, reduction='none'), np.array([[1e4, 0.0], [-1e4, 0.0]]), [0, 0]
    )
    assert values.tolist() == pytest.approx([-1e4, (1 - 1e4) ** 2 * math.log(1e4)])
    slope = (1 - 1e4) ** 2 / 1e4 - 2 * (1 - 1e4) * math.log(1e4)
    assert gradients.flatten().tolist() == pytest.approx([-1, 1, -slope, slope])


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_gradcheck(reduction):
    torch.manual_seed(0)
    scores = (3 * torch.randn(2, 4, 3, 2, dtype=torch.float64)).requires_grad_()
    label = torch.randint(0, 4, (2, 3, 2))
    label[0, 0] = 255
    loss = ConservativeLoss(reduction=reduction, class_weight=[1, 2, 0.5, 0.25])
    assert torch.autograd.gradcheck(lambda scores: loss(scores, label), scores)


def test_gradcheck_of_the_clamped_loss():
    torch.manual_seed(0)
    scores = (6 * torch.randn(1, 4, 8, 8, dtype=torch.float64)).requires_grad_()
    label = torch.randint(0, 4, (1, 8, 8))
    loss = ConservativeLoss(clamp=2.0, reduction='none')
    assert torch.autograd.gradcheck(lambda scores: loss(scores, label), scores)
    assert 0.1 < loss.clamped_share < 0.9


def test_second_derivative_is_refused():
    scores = torch.randn(1, 3, 2, 2, requires_grad=True)
    label = torch.zeros(1, 2, 2, dtype=torch.int64)
    value = ConservativeLoss()(scores, label)
    (gradient,) = torch.autograd.grad(value, scores, create_graph=True)
    assert torch.equal(gradient, value_and_gradient(ConservativeLoss(), scores.detach(), label)[1])
    with pytest.raises(RuntimeError, match='differentiated a second time'):
        gradient.sum().backward()


def test_clamp_comes_before_the_weight_and_stops_the_gradient():
    scores = reference.scores_with_probability([1e-4, 0.03, 0.5, 1 - 1e-5], num_classes=3, seed=0, dtype=np.float64)
    label = np.zeros(4, dtype=np.int64)
    free, free_gradient = value_and_gradient(ConservativeLoss(reduction='none'), scores, label)
    loss = ConservativeLoss(clamp=10, reduction='none')
    assert loss.clamped_share is None
    values, gradient = value_and_gradient(loss, scores, label)
    assert values.tolist() == pytest.approx([50, free[1].item(), free[2].item(), -50])
    assert torch.equal(gradient[[1, 2]], free_gradient[[1, 2]])
    assert not gradient[[0, 3]].any()
    assert loss.clamped_share.item() == 0.5


def test_clamp_of_the_weighted_reading_bounds_the_weight():
    scores = reference.scores_with_probability([1e-4, 0.5], num_classes=3, seed=0, dtype=np.float64)
    _, gradient = value_and_gradient(
        ConservativeLoss(clamp=10, gradient='weighted', loss_weight=2, reduction='sum'), scores, [0, 0]
    )
    assert gradient[0, 0].item() == pytest.approx(-2 * 10 * (1 - 1e-4))
    assert gradient[1, 0].item() == pytest.approx(2 * 0.5 * 0.034510, rel=1e-4)


@pytest.mark.parametrize('loss_weight', [0.5, 5.0])
@pytest.mark.parametrize('score', [50.0, 300.0, 1000.0, 60000.0])
def test_float16_does_not_overflow_in_the_weighted_reading(score, loss_weight):
    """Torch's cross entropy in float32, weighted with Eq. 3 as NumPy computes it, within what float16 can hold."""
    scores = torch.tensor([[0.0, score]], dtype=torch.float16)
    loss = ConservativeLoss(gradient='weighted', loss_weight=loss_weight, reduction='sum')
    value, gradient = value_and_gradient(loss, scores, [0])
    largest = torch.finfo(torch.float16).max
    weight = (1 - score) ** 2 * np.log(score)
    expected = min(loss_weight * weight, largest if loss_weight > 1 else largest * loss_weight)
    assert value.item() == pytest.approx(loss_weight * weight, rel=1e-5)
    assert gradient.dtype == torch.float16 and gradient.isfinite().all()
    assert gradient.tolist()[0] == pytest.approx([-expected, expected], rel=1e-3)
    unbounded = value_and_gradient(loss, scores.float(), [0])[1]
    assert unbounded.tolist()[0] == pytest.approx([-loss_weight * weight, loss_weight * weight], rel=1e-5)


@pytest.mark.parametrize('base', [1.3, math.e, 4])
@pytest.mark.parametrize('reading', READINGS)
def test_cross_entropy_below_the_intersection_and_the_reading_above(base, reading):
    scores = reference.scores_with_probability(PROBABILITIES, num_classes=5, seed=1, dtype=np.float64)
    label = np.zeros(len(scores), dtype=np.int64)
    loss = ConservativeLoss(base=base, loss_weight=1, gradient=reading, below='ce', clamp=2.0, reduction='none')
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # a cold start has cross entropy's gradient
        values, gradients = value_and_gradient(loss, scores, label)
    above, above_gradient = value_and_gradient(
        ConservativeLoss(base=base, loss_weight=1, gradient=reading, clamp=2.0, reduction='none'), scores, label
    )
    for row, value, gradient, *expected in zip(
        scores, values.tolist(), gradients.tolist(), above.tolist(), above_gradient.tolist(), strict=True
    ):
        surprise, cross_entropy = reference.mp_value_and_gradient(reference.mp_cross_entropy, row, label=0)
        if surprise == pytest.approx(math.log(base), abs=1e-9):
            continue
        if surprise > math.log(base):  # not even the clamp bounds it
            expected = surprise - math.log(base), cross_entropy
        assert value == pytest.approx(expected[0], rel=1e-12, abs=1e-12)
        assert gradient == pytest.approx(expected[1], rel=1e-12, abs=1e-12)
    # of those above, only the nearly certain ones are clamped
    sound = (above < 0) & (above > -2)
    assert sound.any() and loss.clamped_share.item() == pytest.approx((above <= -2).double().mean().item())


def test_the_slope_jumps_at_the_intersection_and_the_value_does_not():
    log_odds = torch.tensor([math.log(math.e - 1)], dtype=torch.float64)
    loss = ConservativeLoss(below='ce')
    (below, slope_below), (above, slope_above) = (loss.value_and_slope(log_odds + d) for d in (1e-9, -1e-9))
    assert below.item() == pytest.approx(0, abs=1e-8) and above.item() == pytest.approx(0, abs=1e-8)
    assert slope_below.item() == pytest.approx(1 - 1 / math.e) and slope_above.item() == pytest.approx(0, abs=1e-8)


def test_clamped_share_counts_labelled_pixels():
    scores = reference.scores_with_probability([1e-4, 1e-4, 0.5, 0.5], num_classes=3, seed=0, dtype=np.float32)
    loss = ConservativeLoss(clamp=10)
    value_and_gradient(loss, scores, [0, 255, 0, 255])
    assert loss.clamped_share.item() == 0.5 and not loss.clamped_share.requires_grad
    value_and_gradient(loss, scores, [255, 255, 255, 255])
    assert loss.clamped_share.item() == 0
    assert 'clamped_share' not in loss.state_dict() and not loss.state_dict()


def test_a_clamp_that_stops_a_cold_start_warns_once():
    scores, label = torch.zeros(1, 19, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)
    loss = ConservativeLoss(base=2, clamp=10)
    with pytest.warns(UserWarning, match=r'clamp=10 .* cold start') as caught:
        gradient = value_and_gradient(loss, scores, label)[1]
        value_and_gradient(loss, scores, label)
    assert len(caught) == 1 and not gradient.any()


def test_a_clamp_after_a_warm_start_does_not_warn():
    loss = WarmStartLoss(dict(type='SoftmaxCrossEntropyLoss'), dict(type='ConservativeLoss', clamp=3.0), 0.5)
    loss.set_progress(TrainingProgress(iteration=1, max_iters=2))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        loss(torch.zeros(1, 19, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))
    assert loss.clamped_share == 1


@pytest.mark.parametrize('options', [{'clamp': 10}, {'base': 2}, {'base': 2, 'clamp': 10, 'gradient': 'weighted'}])
def test_settings_that_can_start_cold_do_not_warn(options):
    scores, label = torch.zeros(1, 19, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        gradient = value_and_gradient(ConservativeLoss(**options), scores, label)[1]
    assert gradient.any()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'base': 1}, 'base .* greater than 1'),
        ({'base': 0.5}, 'base .* 0.5'),
        ({'base': math.inf}, 'base .* inf'),
        ({'base': 'e'}, "base .* 'e'"),
        ({'loss_weight': math.nan}, 'loss_weight .* nan'),
        ({'loss_weight': -1}, 'loss_weight .* at least 0'),
        ({'gradient': 'literally'}, "gradient .* 'literal', 'reversed', 'weighted'"),
        ({'below': 'cross entropy'}, "below .* 'conservative', 'ce'"),
        ({'level': 'mean'}, "level .* 'pixel', 'image', 'batch'"),
        ({'clamp': 0}, 'clamp .* greater than 0'),
        ({'clamp': True}, 'clamp .* True'),
        ({'reduction': 'average'}, "reduction .* 'average'"),
        ({'class_weight': [1, math.nan]}, 'class_weight .* nan'),
    ],
)
def test_bad_settings_are_named(options, words):
    with pytest.raises(ValueError, match=f'^ConservativeLoss: {words}'):
        ConservativeLoss(**options)


def test_built_from_a_config():
    loss = MODELS.build({'type': 'ConservativeLoss', 'base': 3, 'clamp': 10, 'loss_name': 'loss_seg'})
    assert loss.loss_name == 'loss_seg'
    assert ConservativeLoss().loss_name == 'loss_conservative'
    assert repr(loss) == (
        "ConservativeLoss(base=3, clamp=10.0, gradient='literal', below='conservative', level='pixel', loss_weight=5, "
        "reduction='mean', avg_non_ignore=True)"
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    base=st.floats(1.1, 20),
    spread=st.floats(0.1, 12),
    num_classes=st.integers(2, 7),
    reading=st.sampled_from(READINGS),
    clamp=st.one_of(st.none(), st.floats(0.1, 50)),
)
@settings(max_examples=150, deadline=None)
def test_all_readings_agree_with_numpy(seed, base, spread, num_classes, reading, clamp):
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, spread, (6, num_classes))
    label = generator.integers(0, num_classes, 6)
    loss = ConservativeLoss(base=base, loss_weight=1, clamp=clamp, gradient=reading, reduction='none')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about cold starts
        values, gradients = value_and_gradient(loss, scores, label)
    # NumPy's formula loses digits where p_t is near 1; there only the stricter comparison with mpmath tells.
    expected_values, expected_gradients = reference.np_conservative(scores, label, base, reading, clamp or np.inf)
    sound = reference.np_softmax(scores)[np.arange(6), label] < 1 - 1e-9
    limit = 1e-6 * np.maximum(np.abs(expected_values), 1)
    near_clamp = np.abs(np.abs(values.numpy()) - (clamp or np.inf)) < limit
    assert np.all(np.abs(values.numpy() - expected_values)[sound] <= limit[sound])
    compared = sound & (~near_clamp | (np.abs(expected_values) == (clamp or np.inf)))
    assert np.all(np.abs(gradients.numpy() - expected_gradients).max(1)[compared] <= limit[compared])


@given(base=st.floats(1.1, 20), low=st.floats(-100, 100), step=st.floats(1e-3, 10), gradient=st.sampled_from(READINGS))
@settings(max_examples=100, deadline=None)
def test_value_falls_with_the_probability(base, low, step, gradient):
    log_odds = torch.tensor([low, low + step], dtype=torch.float64)
    value, _ = ConservativeLoss(base=base, gradient=gradient).value_and_slope(log_odds)
    assert value[1] - value[0] >= -1e-12 * max(1, value[1].abs())


@given(base=st.floats(1.1, 20), log_odds=st.floats(-1e4, 1e4))
@settings(max_examples=100, deadline=None)
def test_signs_of_the_three_readings(base, log_odds):
    log_odds = torch.tensor([log_odds], dtype=torch.float64)
    slopes = {}
    for reading in READINGS:
        value, slopes[reading] = ConservativeLoss(base=base, gradient=reading).value_and_slope(log_odds)
    assert slopes['literal'] >= 0  # descent raises p_t
    assert torch.equal(slopes['reversed'], slopes['literal'] * value.sign())
    assert slopes['weighted'] * value.sign() >= 0
