"""Losses of the mean surprise of an image or the batch, against the same written down plainly."""

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmseg.registry import MODELS
from mpmath import mp, mpf

from cda_mmseg.models.losses import ConservativeLoss, FloodingLoss, SoftmaxCrossEntropyLoss
from tests.models.losses import loss_reference as reference

CLASS_WEIGHT = [0.5, 1, 2, 0.0, 4]
LOSSES = {
    'literal': (ConservativeLoss, {'loss_weight': 1.0}),
    'reversed': (ConservativeLoss, {'loss_weight': 1.0, 'gradient': 'reversed', 'base': math.exp(0.3)}),
    'weighted': (ConservativeLoss, {'loss_weight': 1.0, 'gradient': 'weighted', 'base': 3}),
    'clamped': (ConservativeLoss, {'loss_weight': 1.0, 'clamp': 0.5}),
    'below_ce': (ConservativeLoss, {'loss_weight': 1.0, 'below': 'ce'}),
    'flooding': (FloodingLoss, {'flood': 0.9}),
}
every_loss = pytest.mark.parametrize('name', LOSSES)
both_levels = pytest.mark.parametrize('level', ['image', 'batch'])


def build(name, **options):
    kind, defaults = LOSSES[name]
    return kind(**{**defaults, **options})


def batch(seed=0, spread=1.5, shape=(3, 4, 5), dtype=torch.float64):
    """Scores, labels a third of which are ignored, weights; the last picture is easier than the others."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 5, shape, generator=generator)
    scores = torch.randn(shape[0], 5, *shape[1:], generator=generator, dtype=torch.float64).mul(spread)
    scores[-1] += 4 * F.one_hot(label[-1], 5).movedim(-1, 0)
    weight = torch.rand(shape, generator=generator, dtype=torch.float64)
    label[torch.rand(shape, generator=generator) < 0.3] = 255
    return scores.to(dtype), label, weight


def value_and_gradient(loss, scores, *arguments, **options):
    scores = scores.detach().clone().requires_grad_()
    value = loss(scores, *arguments, **options)
    (gradient,) = torch.autograd.grad(value, scores)
    return value.detach(), gradient


def plain(name, mean):
    """f(m) as an ordinary expression whose autograd derivative is the reading."""
    _, options = LOSSES[name]
    if name == 'flooding':
        return (mean - options['flood']).abs() + options['flood']
    log_base = math.log(options.get('base', math.e))
    if options.get('below') == 'ce' and mean > log_base:
        return mean - log_base
    value = (1 - mean / log_base) ** 2 * (mean / log_base).log() / log_base
    clamp = options.get('clamp', math.inf)
    value = value.clamp(-clamp, clamp)
    if options.get('gradient') == 'reversed':
        return value.detach() + value.abs() - value.detach().abs()
    if options.get('gradient') == 'weighted':
        return value.detach() + value.detach() * (mean - mean.detach())
    return value


def plain_loss(name, level, scores, label, factor, divisor):
    """The sum over the groups of f(weighted mean) times the group's weight."""
    groups = [slice(index, index + 1) for index in range(len(label))] if level == 'image' else [slice(None)]
    total = 0.0
    for group in groups:
        surprise = F.cross_entropy(scores[group], label[group], ignore_index=255, reduction='none')
        weights = factor[group] * (label[group] != 255)
        total = total + plain(name, (weights * surprise).sum() / weights.sum()) * weights.sum()
    return total / divisor


@every_loss
@both_levels
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.0, 0.3, 1.5, 5.0]), weighted=st.booleans())
@settings(max_examples=25, deadline=None)
def test_equals_the_plain_expression_with_every_kind_of_weight(name, level, seed, spread, weighted):
    scores, label, weight = batch(seed, spread)
    assume(all((picture < 3).any() for picture in label))
    valid = label != 255
    class_weight = torch.tensor(CLASS_WEIGHT).double()[label.clamp(max=4)]
    for options, factor, divisor in (
        ({}, torch.ones_like(weight), valid.sum()),
        ({'class_weight': CLASS_WEIGHT}, class_weight, (class_weight * valid).sum()),
        ({'avg_non_ignore': False}, torch.ones_like(weight), valid.numel()),
        ({'reduction': 'sum', 'loss_weight': 3.0}, torch.ones_like(weight), 1 / 3),
    ):
        loss = build(name, level=level, **options)
        arguments = (label, weight) if weighted else (label,)
        value, gradient = value_and_gradient(loss, scores, *arguments)
        factor = factor * weight if weighted else factor
        expected = value_and_gradient(lambda *a: plain_loss(name, level, *a), scores, label, factor, divisor)
        torch.testing.assert_close(value, expected[0], rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(gradient, expected[1], rtol=1e-8, atol=1e-11)


@both_levels
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize('name', ['literal', 'below_ce', 'flooding'])
def test_gradcheck(name, level, reduction):
    scores, label, weight = batch(shape=(2, 2, 3))
    loss = build(name, level=level, reduction=reduction, class_weight=CLASS_WEIGHT)
    assert torch.autograd.gradcheck(lambda scores: loss(scores, label, weight), scores.requires_grad_())


@pytest.mark.parametrize('name', [*LOSSES])
def test_an_image_of_one_pixel_is_a_pixel(name):
    scores, label, weight = batch(shape=(40, 1, 1), spread=2.0)
    results = [value_and_gradient(build(name, level=level), scores, label, weight) for level in ('pixel', 'image')]
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)
    values = [build(name, level=level, reduction='none')(scores, label, weight) for level in ('pixel', 'image')]
    torch.testing.assert_close(*values, rtol=1e-10, atol=1e-12)


@every_loss
def test_a_batch_of_one_image_is_an_image(name):
    scores, label, weight = batch(shape=(1, 4, 5))
    image, whole = (value_and_gradient(build(name, level=level), scores, label, weight) for level in ('image', 'batch'))
    torch.testing.assert_close(image, whole, rtol=1e-12, atol=1e-14)


@both_levels
@every_loss
def test_weights_act_as_at_a_pixel(name, level):
    scores, label, weight = batch()
    loss = build(name, level=level)
    value, gradient = value_and_gradient(loss, scores, label)
    # One confidence for all pixels scales the loss, without a change of what the mean is.
    half, half_gradient = value_and_gradient(loss, scores, label, torch.full_like(weight, 0.5))
    torch.testing.assert_close((half, half_gradient), (value / 2, gradient / 2))
    # Weight 0 leaves a pixel out as ignoring it does, but for the divisor.
    chosen = (weight < 0.6).double()
    as_weight = value_and_gradient(loss, scores, label, chosen, avg_factor=7)
    as_label = value_and_gradient(loss, scores, torch.where(chosen > 0, label, 255), avg_factor=7)
    torch.testing.assert_close(as_weight, as_label)


@both_levels
@every_loss
def test_reduction_none_is_a_map_of_what_each_pixel_counts(name, level):
    scores, label, weight = batch()
    losses = build(name, level=level)(scores, label, weight, reduction_override='none')
    assert losses.shape == label.shape and not losses[label == 255].any()
    torch.testing.assert_close(losses.sum(), build(name, level=level, reduction='sum')(scores, label, weight))
    per_pixel = (losses / weight)[label != 255]
    assert len(per_pixel.mul(1e9).round().unique()) == (3 if level == 'image' else 1)


@pytest.mark.parametrize('mean', [1e-12, 1e-4, 0.05, 0.3, 0.31, 0.99, 1.01, 2.9, 40.0])
@pytest.mark.parametrize('base', [math.exp(0.3), math.e])
@pytest.mark.parametrize('reading', ['literal', 'reversed', 'weighted'])
def test_values_and_slopes_agree_with_mpmath(reading, base, mean):
    loss = ConservativeLoss(base=base, loss_weight=1, gradient=reading, level='batch')
    value, slope = loss.value_and_slope_of_mean(torch.tensor([mean], dtype=torch.float64))
    with mp.workdps(60):
        of_mean = lambda m: reference.mp_conservative(base)(mpmath.exp(-m))  # noqa: E731
        expected = of_mean(mpf(mean))
        derivative = mpmath.diff(of_mean, mpf(mean), h=mpf(mean) * mpf(10) ** -20)
        if reading == 'reversed':
            derivative *= mpmath.sign(expected)
        if reading == 'weighted':
            derivative = expected
        assert value.item() == pytest.approx(float(expected), rel=1e-10, abs=1e-13)
        assert slope.item() == pytest.approx(float(derivative), rel=1e-9, abs=1e-12)


def test_the_mean_makes_it_a_weighted_cross_entropy():
    """The gradient has cross entropy's direction; only how much of it depends on the mean."""
    scores, label, _ = batch()
    mean, cross_entropy = value_and_gradient(SoftmaxCrossEntropyLoss(), scores, label)
    value, gradient = value_and_gradient(ConservativeLoss(loss_weight=1, level='batch'), scores, label)
    _, slope = ConservativeLoss().value_and_slope_of_mean(mean)
    torch.testing.assert_close(gradient, slope * cross_entropy)
    assert value.item() == pytest.approx((1 - mean.item()) ** 2 * math.log(mean.item()))


@given(seed=st.integers(0, 2**32 - 1), flood=st.floats(0.05, 3), spread=st.floats(0.1, 4))
@settings(max_examples=40, deadline=None)
def test_reversed_and_flooding_pull_the_mean_to_the_same_place(seed, flood, spread):
    scores, label, _ = batch(seed, spread)
    mean, _ = value_and_gradient(SoftmaxCrossEntropyLoss(), scores, label)
    assume(abs(mean - flood) > 1e-3)
    conservative = ConservativeLoss(base=math.exp(flood), gradient='reversed', level='batch')
    gradients = [value_and_gradient(loss, scores, label)[1] for loss in (conservative, FloodingLoss(flood))]
    assert (gradients[0].sign() == gradients[1].sign()).all()
    step = scores - 1e-3 * gradients[1]
    moved = value_and_gradient(SoftmaxCrossEntropyLoss(), step, label)[0]
    assert (moved - mean) * (flood - mean) > 0


def test_flooding_is_the_papers_expression():
    scores, label, _ = batch()
    mean = F.cross_entropy(scores, label, ignore_index=255)
    for flood in (0.0, 0.2, 5.0):
        assert FloodingLoss(flood)(scores, label).item() == pytest.approx(((mean - flood).abs() + flood).item())
    assert FloodingLoss(0.0)(scores, label).item() == pytest.approx(mean.item())


@every_loss
@both_levels
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('size', [0.0, 60.0, 6e4])
def test_stays_finite_from_certainty_to_error(name, level, dtype, size):
    label = torch.zeros(2, 8, 8, dtype=torch.int64)
    scores = torch.stack([torch.full_like(label, value, dtype=dtype) for value in (size, -size, -size)], dim=1)
    for right in (scores, scores.roll(1, dims=1)):
        value, gradient = value_and_gradient(build(name, level=level, loss_weight=1e-3), right, label)
        assert value.isfinite() and value.dtype == torch.float32
        assert gradient.isfinite().all()


@every_loss
@both_levels
def test_a_batch_or_picture_without_a_label_or_a_weight_costs_nothing(name, level):
    scores, label, weight = batch()
    loss = build(name, level=level)
    for arguments in ((torch.full_like(label, 255),), (label, torch.zeros_like(weight))):
        value, gradient = value_and_gradient(loss, scores, *arguments)
        assert value == 0 and not gradient.any()
    bare = label.clone()
    bare[2] = 255
    with_it = value_and_gradient(loss, scores, bare)
    without = value_and_gradient(loss, scores[:2], bare[:2])
    torch.testing.assert_close(with_it[0], without[0])
    torch.testing.assert_close(with_it[1][:2], without[1])
    assert not with_it[1][2].any()


def test_the_share_of_clamped_pixels_is_that_of_clamped_means():
    scores, label, _ = batch()
    valid = label != 255
    sizes = ConservativeLoss(level='image', loss_weight=1, reduction='none')(scores, label).abs().amax((1, 2))
    order = sizes.argsort()
    loss = ConservativeLoss(clamp=sizes[order[1:]].mean().item(), level='image')
    loss(scores, label)
    assert loss.clamped_share == pytest.approx((valid[order[2]].sum() / valid.sum()).item())


@pytest.mark.parametrize(
    ('options', 'words'),
    [({'flood': -1}, 'flood .* at least 0'), ({'flood': 1, 'level': 'all'}, "level .* 'pixel', 'image', 'batch'")],
)
def test_bad_settings_are_named(options, words):
    with pytest.raises(ValueError, match=f'^FloodingLoss: {words}'):
        FloodingLoss(**options)


def test_built_from_a_config():
    loss = MODELS.build({'type': 'FloodingLoss', 'flood': 0.3})
    assert loss.loss_name == 'loss_flooding' and not loss.state_dict()
    assert repr(loss).startswith("FloodingLoss(flood=0.3, level='batch', loss_weight=1")
