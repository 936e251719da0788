"""What every loss of the labelled class's probability promises."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.structures import SegDataSample

from cda_mmseg.models.losses import (
    ConservativeLoss,
    CubicLoss,
    FloodingLoss,
    PiecewiseCubicLoss,
    SoftmaxCrossEntropyLoss,
    SoftmaxFocalLoss,
)
from tests.models.losses import loss_reference as reference

LOSSES = {
    'conservative': (ConservativeLoss, {'loss_weight': 1.0}),
    'conservative_reversed': (ConservativeLoss, {'loss_weight': 1.0, 'gradient': 'reversed', 'base': 2}),
    'conservative_weighted': (ConservativeLoss, {'loss_weight': 1.0, 'gradient': 'weighted', 'base': 3}),
    'conservative_clamped': (ConservativeLoss, {'loss_weight': 1.0, 'clamp': 10}),
    'conservative_below_ce': (ConservativeLoss, {'loss_weight': 1.0, 'below': 'ce', 'clamp': 10}),
    'cubic_half': (CubicLoss, {'intersection': 0.5, 'loss_weight': 1.0}),
    'cubic': (CubicLoss, {'loss_weight': 1.0}),
    'piecewise_cubic': (PiecewiseCubicLoss, {'alpha': 3.0, 'beta': 2.0}),
    'focal': (SoftmaxFocalLoss, {}),
    'focal_half': (SoftmaxFocalLoss, {'alpha': 1.0, 'gamma': 0.5}),
    'cross_entropy': (SoftmaxCrossEntropyLoss, {}),
    'smoothed_cross_entropy': (SoftmaxCrossEntropyLoss, {'label_smoothing': 0.2}),
    'flooding': (FloodingLoss, {'flood': 0.7, 'level': 'pixel'}),
}
every_loss = pytest.mark.parametrize('name', LOSSES)


def build(name, **options):
    kind, defaults = LOSSES[name]
    return kind(**{**defaults, **options})


def batch(seed=0, num_classes=5, shape=(2, 6, 4), spread=3.0, dtype=torch.float32, ignored=0.3):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape[0], num_classes, *shape[1:], generator=generator, dtype=torch.float64).mul(spread)
    label = torch.randint(0, num_classes, shape, generator=generator)
    label[torch.rand(shape, generator=generator) < ignored] = 255
    return scores.to(dtype), label


def value_and_gradient(loss, scores, label, **options):
    scores = scores.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    value = loss(scores, label, **options)
    (gradient,) = torch.autograd.grad(value.sum(), scores)
    return value.detach(), gradient


@every_loss
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('size', [1e4, 6e4])
def test_extreme_scores_stay_finite(name, dtype, size):
    signs = torch.tensor([[1, -1, -1], [-1, 1, 1], [1, 1, -1], [-1, -1, -1], [0, 0, 1]])
    # The mean over 500 pixels: the gradient of a lone pixel with p_t = exp(-1e4) is above float16's largest number.
    scores = (signs * size).to(dtype).repeat(100, 1)
    label = torch.zeros(500, dtype=torch.int64)
    value, gradient = value_and_gradient(build(name), scores, label)
    assert value.dtype == torch.float32 and gradient.dtype == dtype
    assert value.isfinite()
    assert gradient.isfinite().all()
    sums, largest = gradient.float().sum(1).abs(), gradient.float().abs().amax(1)
    assert (sums <= 2 * torch.finfo(dtype).eps * largest + 1e-6).all()


@every_loss
def test_a_picture_without_a_label_costs_nothing(name):
    scores, label = batch(spread=1e4)
    for options in ({}, {'reduction': 'sum'}, {'class_weight': [1.0] * 5}, {'avg_non_ignore': False}):
        value, gradient = value_and_gradient(build(name, **options), scores, torch.full_like(label, 255))
        assert value.item() == 0
        assert not gradient.any()


@every_loss
def test_ignored_pixels_change_nothing(name):
    scores, label = batch(spread=1)
    changed = torch.where((label == 255).unsqueeze(1), scores.flip(1) * 50 - 7, scores)
    value, gradient = value_and_gradient(build(name), scores, label)
    changed_value, changed_gradient = value_and_gradient(build(name), changed, label)
    assert value == changed_value and torch.equal(gradient, changed_gradient)
    assert not gradient.movedim(1, -1)[label == 255].any()
    used = (label != 255) & (build(name, reduction='none')(scores, label).abs() < 10)  # and not clamped
    assert used.sum() > 20 and (gradient.abs().sum(1) > 0)[used].all()
    other_index = torch.where(label == 255, -100, label)
    assert build(name)(scores, other_index, ignore_index=-100) == value


@every_loss
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_computed_in_float32(name, dtype):
    scores, label = batch(dtype=dtype)
    value, gradient = value_and_gradient(build(name), scores, label)
    expected_value, expected_gradient = value_and_gradient(build(name), scores.float(), label)
    assert value.dtype == torch.float32 and value == expected_value
    assert torch.equal(gradient, expected_gradient.to(dtype))


@every_loss
def test_autocast_changes_nothing(name):
    scores, label = batch()
    expected_value, expected_gradient = value_and_gradient(build(name), scores, label)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value, gradient = value_and_gradient(build(name), scores, label)
    assert value.dtype == torch.float32 and value == expected_value and torch.equal(gradient, expected_gradient)


@every_loss
def test_gradcheck(name):
    scores, label = batch(shape=(2, 2, 2), dtype=torch.float64)
    loss = build(name, reduction='none')
    if LOSSES[name][1].get('gradient', 'literal') == 'literal':
        assert torch.autograd.gradcheck(lambda scores: loss(scores, label), scores.requires_grad_())


@every_loss
def test_reductions_weights_and_factors(name):
    scores, label = batch(dtype=torch.float64)
    loss = build(name)
    losses = loss(scores, label, reduction_override='none')
    valid = label != 255
    weight = torch.rand(label.shape, dtype=torch.float64)
    assert losses.shape == label.shape and not losses[~valid].any()
    torch.testing.assert_close(loss(scores, label), losses.sum() / valid.sum())
    torch.testing.assert_close(build(name, reduction='sum')(scores, label), losses.sum())
    torch.testing.assert_close(loss(scores, label, reduction_override='sum'), losses.sum())
    torch.testing.assert_close(build(name, avg_non_ignore=False)(scores, label), losses.mean())
    torch.testing.assert_close(loss(scores, label, weight=weight), (losses * weight).sum() / valid.sum())
    torch.testing.assert_close(loss(scores, label, weight, reduction_override='none'), losses * weight)
    torch.testing.assert_close(loss(scores, label, avg_factor=7), losses.sum() / 7)
    torch.testing.assert_close(loss(scores, label, avg_factor=torch.tensor(0.5)), losses.sum() / 0.5)
    assert build(name, loss_weight=0.0)(scores, label) == 0


@every_loss
def test_class_weights_make_the_weighted_mean(name):
    scores, label = batch(dtype=torch.float64)
    class_weight = [0.5, 1.0, 2.0, 0.0, 4.0]
    losses = build(name, reduction='none')(scores, label)
    factors = torch.where(label == 255, 0.0, torch.tensor(class_weight)[label.clamp(max=4)]).double()
    loss = build(name, class_weight=class_weight)
    torch.testing.assert_close(loss(scores, label), (losses * factors).sum() / factors.sum())
    torch.testing.assert_close(loss(scores, label, reduction_override='none'), losses * factors)
    torch.testing.assert_close(loss(scores, label, avg_factor=3.0), (losses * factors).sum() / 3)
    assert build(name, class_weight=[0.0] * 5)(scores, label) == 0


def test_class_weights_from_a_file(tmp_path):
    np.save(tmp_path / 'weights.npy', np.array([0.5, 1, 2, 0, 4]))
    scores, label = batch()
    from_file = ConservativeLoss(class_weight=str(tmp_path / 'weights.npy'))
    assert from_file(scores, label) == ConservativeLoss(class_weight=[0.5, 1, 2, 0, 4])(scores, label)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('class_weight', [None, [0.5, 1, 2, 0.25, 4]])
def test_cross_entropy_equals_pytorchs(reduction, class_weight):
    scores, label = batch(dtype=torch.float64)
    value, gradient = value_and_gradient(
        SoftmaxCrossEntropyLoss(reduction=reduction, class_weight=class_weight), scores, label
    )
    weights = None if class_weight is None else torch.tensor(class_weight).double()
    expected, expected_gradient = value_and_gradient(
        lambda scores, label: F.cross_entropy(scores, label, weights, ignore_index=255, reduction=reduction),
        scores,
        label,
    )
    torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-13, atol=1e-14)


@given(seed=st.integers(0, 2**32 - 1), num_classes=st.integers(2, 9), smoothing=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_smoothed_labels_are_another_distribution(seed, num_classes, smoothing):
    scores, label = batch(seed, num_classes, dtype=torch.float64)
    loss = SoftmaxCrossEntropyLoss(label_smoothing=smoothing, reduction='sum')
    value, gradient = value_and_gradient(loss, scores, label)
    rows = scores.movedim(1, -1)[label != 255].numpy()
    shares = reference.np_softmax(rows)
    wanted = (1 - smoothing) * np.eye(num_classes)[label[label != 255].numpy()] + smoothing / num_classes
    np.testing.assert_allclose(value, -(wanted * np.log(shares)).sum(), rtol=1e-9)
    np.testing.assert_allclose(gradient.movedim(1, -1)[label != 255], shares - wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('smoothing', [-0.1, 1.5, math.nan])
def test_bad_smoothing_is_named(smoothing):
    with pytest.raises(ValueError, match=r'^SoftmaxCrossEntropyLoss: label_smoothing '):
        SoftmaxCrossEntropyLoss(label_smoothing=smoothing)


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'avg_non_ignore': True},
        {'class_weight': [0.5, 1, 2, 0.25, 4]},
        {'class_weight': [0.5, 1, 2, 0.25, 4], 'reduction': 'sum'},
        {'reduction': 'none', 'loss_weight': 3.0},
    ],
)
@pytest.mark.parametrize('arguments', [{}, {'weight': True}, {'avg_factor': 11}, {'avg_factor': 0}])
@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
def test_contract_equals_that_of_mmsegs_cross_entropy(options, arguments):
    scores, label = batch()
    if 'weight' in arguments:
        arguments = {'weight': torch.rand(label.shape)}
    ours = SoftmaxCrossEntropyLoss(**{'avg_non_ignore': False, **options})
    theirs = CrossEntropyLoss(**options)
    if 'avg_factor' in arguments and options.get('reduction') == 'sum':
        for loss in (ours, theirs):
            with pytest.raises(ValueError, match='avg_factor'):
                loss(scores, label, ignore_index=255, **arguments)
        return
    torch.testing.assert_close(
        ours(scores, label, ignore_index=255, **arguments), theirs(scores, label, ignore_index=255, **arguments)
    )
    assert ours.loss_name == theirs.loss_name == 'loss_ce'


def test_serves_a_head_of_mmseg():
    torch.manual_seed(0)
    head = FCNHead(
        in_channels=4,
        channels=4,
        num_classes=5,
        loss_decode=[
            {'type': 'ConservativeLoss', 'loss_weight': 2.0, 'class_weight': [1, 2, 3, 4, 5]},
            {'type': 'SoftmaxFocalLoss'},
        ],
    )
    samples = [SegDataSample() for _ in range(2)]
    label = batch(shape=(2, 8, 8))[1]
    for sample, picture in zip(samples, label, strict=True):
        sample.gt_sem_seg = PixelData(data=picture.unsqueeze(0))
    losses = head.loss([torch.randn(2, 4, 4, 4)], samples, train_cfg={})
    assert {'loss_conservative', 'loss_focal', 'acc_seg'} == set(losses)
    (losses['loss_conservative'] + losses['loss_focal']).backward()
    assert head.conv_seg.weight.grad.abs().sum() > 0
    assert not any('class_weight' in key for key in head.state_dict())


@every_loss
@pytest.mark.parametrize('layout', ['channels_last', 'strided', 'permuted'])
def test_memory_layouts(name, layout):
    scores, label = batch(shape=(2, 6, 4))
    value, gradient = value_and_gradient(build(name), scores, label)
    if layout == 'channels_last':
        other = scores.to(memory_format=torch.channels_last)
    elif layout == 'strided':
        other = F.pad(scores, (1, 2, 3, 4))[:, :, 3:-4, 1:-2]
    else:
        other = scores.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0)
    assert other.stride() != scores.stride()
    other = other.detach().requires_grad_()
    other_value = build(name)(other, label)
    other_value.backward()
    assert torch.allclose(other_value, value, rtol=1e-6) and torch.equal(other.grad, gradient)


@pytest.mark.parametrize('shape', [(3,), (2, 5), (1, 2, 3, 4), (0, 4, 4), (2, 0, 4)])
def test_numbers_of_dimensions(shape):
    scores, label = batch(shape=(max(shape[0], 1), *shape[1:]), dtype=torch.float64)
    scores, label = scores[: shape[0]], label[: shape[0]]
    value, gradient = value_and_gradient(ConservativeLoss(loss_weight=1, reduction='none'), scores, label)
    rows = scores.movedim(1, -1).reshape(-1, scores.shape[1]).numpy()
    valid = (label != 255).reshape(-1).numpy()
    expected, expected_gradient = reference.np_conservative(rows, np.where(valid, label.reshape(-1), 0))
    np.testing.assert_allclose(value.reshape(-1), expected * valid, rtol=1e-9)
    gradient = gradient.movedim(1, -1).reshape(-1, scores.shape[1])
    np.testing.assert_allclose(gradient, expected_gradient * valid[:, None], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_large_pictures_are_worked_on_in_pieces_that_fit_together(dtype):
    scores, label = batch(num_classes=19, shape=(2, 200, 300), dtype=dtype)  # 2.3 million scores
    value, gradient = value_and_gradient(ConservativeLoss(loss_weight=1, reduction='none'), scores, label)
    rows = scores.double().movedim(1, -1).reshape(-1, 19).numpy()
    valid = (label != 255).reshape(-1).numpy()
    expected, expected_gradient = reference.np_conservative(rows, np.where(valid, label.reshape(-1), 0))
    np.testing.assert_allclose(value.reshape(-1), expected * valid, rtol=1e-5, atol=1e-5)
    gradient = gradient.movedim(1, -1).reshape(-1, 19).float()
    rtol = 1e-5 if dtype == torch.float32 else 5e-3
    np.testing.assert_allclose(gradient, expected_gradient * valid[:, None], rtol=rtol, atol=1e-5)


def test_a_kept_graph_can_be_used_again_and_per_pixel_gradients_are_used():
    scores, label = batch()
    scores.requires_grad_()
    loss = ConservativeLoss()
    value = loss(scores, label)
    (first,) = torch.autograd.grad(value, scores, retain_graph=True)
    (second,) = torch.autograd.grad(-2 * value, scores)
    assert torch.equal(second, -2 * first)
    upstream = torch.rand(label.shape)
    losses = loss(scores, label, reduction_override='none')
    (gradient,) = torch.autograd.grad(losses, scores, upstream)
    whole = value_and_gradient(loss, scores, label, reduction_override='sum')[1]
    torch.testing.assert_close(gradient, whole * upstream.unsqueeze(1))


def test_non_finite_scores_are_not_hidden():
    for bad in (math.nan, math.inf):
        scores, label = batch(ignored=0)
        scores[0, :, 0, 0] = bad
        assert not ConservativeLoss()(scores, label).isfinite()
        assert not ConservativeLoss(clamp=10, gradient='weighted')(scores, label).isfinite()


@pytest.mark.parametrize(
    ('scores', 'label', 'options', 'error', 'words'),
    [
        ((1, 0, 2, 2), (1, 2, 2), {}, ValueError, 'at least 2 classes'),
        ((4,), (4,), {}, ValueError, r'shape is \(4,\)'),
        ((1, 3, 2, 2), (1, 2, 3), {}, ValueError, r'must be \(1, 2, 2\)'),
        ((1, 3, 2, 2), (1, 1, 2, 2), {}, ValueError, r'label of shape \(1, 1, 2, 2\)'),
        ((1, 3, 2, 2), (1, 2, 2), {'weight': torch.ones(1, 1, 2, 2)}, ValueError, 'weight has the shape'),
        ((1, 3, 2, 2), (1, 2, 2), {'reduction_override': 'average'}, ValueError, 'reduction_override'),
        ((1, 3, 2, 2), (1, 2, 2), {'avg_factor': 1, 'reduction_override': 'sum'}, ValueError, 'avg_factor'),
    ],
)
def test_arguments_that_do_not_fit_are_named(scores, label, options, error, words):
    with pytest.raises(error, match=f'^ConservativeLoss: .*{words}'):
        ConservativeLoss()(torch.zeros(scores), torch.zeros(label, dtype=torch.int64), **options)


def test_labels_that_are_no_class_are_named():
    scores, label = torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)
    label[0, 1, 1] = 7
    with pytest.raises(ValueError, match='label holds the class 7, but cls_score has the classes 0 to 2'):
        ConservativeLoss()(scores, label)
    with pytest.raises(ValueError, match='label holds the class -1'):
        ConservativeLoss()(scores, -label.clamp(max=1))
    with pytest.raises(ValueError, match='class_weight holds 2 weights, but cls_score has 3 classes'):
        ConservativeLoss(class_weight=[1, 2])(scores, label)
    with pytest.raises(TypeError, match='float32'):
        ConservativeLoss()(scores, label.float())
    as_bytes = label.where(label < 3, 255).to(torch.uint8)
    assert ConservativeLoss()(scores, as_bytes) == ConservativeLoss()(scores, as_bytes.long())


def test_losses_can_be_copied_and_moved():
    scores, label = batch(dtype=torch.float64)
    loss = ConservativeLoss(class_weight=[1, 2, 3, 4, 5], clamp=10)
    expected = loss(scores, label)
    assert copy.deepcopy(loss)(scores, label) == expected == loss.double()(scores, label)


pictures = {
    'seed': st.integers(0, 2**32 - 1),
    'num_classes': st.integers(2, 9),
    'spread': st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0, 1e4]),
}


@every_loss
@given(**pictures)
@settings(max_examples=25, deadline=None)
def test_always_finite_with_a_gradient_that_sums_to_zero(name, seed, num_classes, spread):
    scores, label = batch(seed, num_classes, (1, 4, 4), spread)
    value, gradient = value_and_gradient(build(name), scores, label)
    assert value.isfinite() and gradient.isfinite().all()
    # Where a smoothed label is met, PyTorch's gradient is a difference of nearly equal numbers.
    rounding = 1e-7 if name == 'smoothed_cross_entropy' else 1e-12
    assert (gradient.sum(1).abs() <= 1e-5 * gradient.abs().amax(1) + rounding).all()
    assert not gradient.movedim(1, -1)[label == 255].any()


@every_loss
@given(**pictures)
@settings(max_examples=15, deadline=None)
def test_does_not_care_how_classes_are_numbered(name, seed, num_classes, spread):
    scores, label = batch(seed, num_classes, (1, 4, 4), spread, torch.float64)
    order = torch.randperm(num_classes, generator=torch.Generator().manual_seed(seed))
    renumbered = torch.where(label == 255, 255, order.argsort()[label.clamp(max=num_classes - 1)])
    value, gradient = value_and_gradient(build(name), scores, label)
    other_value, other_gradient = value_and_gradient(build(name), scores[:, order], renumbered)
    torch.testing.assert_close(other_value, value, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(other_gradient, gradient[:, order], rtol=1e-9, atol=1e-10)


@every_loss
@given(**pictures, shift=st.integers(-1000, 1000), weight=st.floats(0, 100))
@settings(max_examples=15, deadline=None)
def test_shift_of_all_scores_and_loss_weight(name, seed, num_classes, spread, shift, weight):
    scores, label = batch(seed, num_classes, (1, 4, 4), spread)
    scores = scores.round().double()
    value, gradient = value_and_gradient(build(name), scores, label)
    scaled_value, scaled_gradient = value_and_gradient(build(name, loss_weight=weight), scores + shift, label)
    torch.testing.assert_close(scaled_value, weight * value)
    torch.testing.assert_close(scaled_gradient, weight * gradient)


def test_one_score_map_is_the_log_odds_of_class_one():
    """As mmseg's heads with ``out_channels=1`` give it; against PyTorch's binary cross entropy."""
    scores = torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, 2, (2, 4, 5))
    label[0, 0] = 255
    kept = label != 255
    expected = F.binary_cross_entropy_with_logits(scores[:, 0][kept], label[kept].double())
    (wanted,) = torch.autograd.grad(expected, scores)
    loss = SoftmaxCrossEntropyLoss()(scores, label)
    (gradient,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, wanted)
