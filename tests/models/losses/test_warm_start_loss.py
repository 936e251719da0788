import warnings

import pytest
import torch
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS

from cda_mmseg.models.losses import ConservativeLoss, SoftmaxCrossEntropyLoss, WarmStartLoss
from cda_mmseg.utils.progress import TrainingProgress

WARM = {'type': 'CrossEntropyLoss', 'avg_non_ignore': True}
MAIN = {'type': 'ConservativeLoss', 'clamp': 10}


def batch():
    torch.manual_seed(0)
    scores, label = 3 * torch.randn(2, 5, 4, 4), torch.randint(0, 5, (2, 4, 4))
    label[0, :2] = 255
    return scores, label


def test_changes_the_loss_at_the_given_share_of_the_run():
    loss = MODELS.build({'type': 'WarmStartLoss', 'warm': WARM, 'main': MAIN, 'warm_fraction': 0.25})
    scores, label = batch()
    names, values = [], []
    for iteration in range(8):
        loss.set_progress(TrainingProgress(iteration=iteration, max_iters=8))
        names.append(loss.in_force.loss_name)
        values.append(loss(scores, label, ignore_index=255))
        assert (loss.clamped_share is None) == (iteration < 2)
    assert names == ['loss_ce'] * 2 + ['loss_conservative'] * 6
    torch.testing.assert_close(values[1], CrossEntropyLoss(avg_non_ignore=True)(scores, label, ignore_index=255))
    assert values[2] == ConservativeLoss(clamp=10)(scores, label)
    assert loss.clamped_share == loss.main.clamped_share


def test_is_a_pure_function_of_the_iteration():
    loss = WarmStartLoss(WARM, MAIN)
    for iteration, name in ((7, 'loss_conservative'), (0, 'loss_ce'), (5, 'loss_conservative'), (4, 'loss_ce')):
        loss.set_progress(TrainingProgress(iteration=iteration, max_iters=10))
        assert loss.in_force.loss_name == name


@pytest.mark.parametrize(
    ('fraction', 'max_iters', 'warm_iterations'),
    [(0, 10, 0), (1, 10, 10), (0.5, 5, 3), (0.55, 100, 55), (0.29, 100, 29), (0.07, 100, 7), (0.5, 100_000, 50_000)],
)
def test_number_of_warm_iterations(fraction, max_iters, warm_iterations):
    loss = WarmStartLoss(WARM, MAIN, warm_fraction=fraction)
    for iteration in {0, warm_iterations - 1, warm_iterations, max_iters - 1} & set(range(max_iters)):
        loss.set_progress(TrainingProgress(iteration=iteration, max_iters=max_iters))
        assert (loss.in_force.loss_name == 'loss_ce') == (iteration < warm_iterations)


@pytest.mark.parametrize(
    'options',
    [
        {'avg_non_ignore': True},
        {'avg_non_ignore': False},
        {'avg_non_ignore': True, 'class_weight': [0.5, 1, 2, 0.25, 4]},
        {'avg_non_ignore': False, 'class_weight': [0.5, 1, 2, 0.25, 4]},
        {'avg_non_ignore': True, 'reduction': 'none'},
        {'avg_non_ignore': True, 'reduction': 'sum'},
    ],
)
def test_mmsegs_cross_entropy_means_what_ours_does(options):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mmseg's about avg_non_ignore
        loss = WarmStartLoss({'type': 'CrossEntropyLoss', **options}, MAIN)
    loss.set_progress(TrainingProgress())
    scores, label = batch()
    ours = SoftmaxCrossEntropyLoss(**options)
    torch.testing.assert_close(loss(scores, label), ours(scores, label))
    weight = torch.rand(label.shape)
    torch.testing.assert_close(loss(scores, label, weight), ours(scores, label, weight))
    if options.get('reduction') is None:
        torch.testing.assert_close(loss(scores, label, avg_factor=7), ours(scores, label, avg_factor=7))
    torch.testing.assert_close(
        loss(scores, label, reduction_override='none'), ours(scores, label, reduction_override='none')
    )


def test_mmsegs_cross_entropy_counts_no_pixels_on_the_host():
    loss = WarmStartLoss(WARM, MAIN)
    loss.set_progress(TrainingProgress())
    scores, label = batch()
    with torch.profiler.profile() as profile:
        loss(scores, label)
    assert not [event.key for event in profile.key_averages() if event.key in ('aten::item', 'aten::nonzero')]


def test_other_losses_are_left_alone():
    sigmoid = {'type': 'CrossEntropyLoss', 'use_sigmoid': True, 'avg_non_ignore': True}
    dice = {'type': 'DiceLoss'}
    loss = WarmStartLoss(sigmoid, dice)
    scores, label = batch()
    loss.set_progress(TrainingProgress(iteration=0, max_iters=2))
    assert loss(scores, label) == CrossEntropyLoss(use_sigmoid=True, avg_non_ignore=True)(
        scores, label, ignore_index=255
    )
    loss.set_progress(TrainingProgress(iteration=1, max_iters=2))
    assert loss.in_force.loss_name == 'loss_dice' and loss.clamped_share is None
    assert loss(scores, label.clamp(max=4)) == MODELS.build(dice)(scores, label.clamp(max=4), ignore_index=255)


def test_an_unknown_iteration_is_an_error():
    loss = WarmStartLoss(WARM, MAIN)
    with pytest.raises(RuntimeError, match='set_progress'):
        loss(*batch())
    with pytest.raises(RuntimeError, match='set_progress'):
        _ = loss.in_force.loss_name


def test_bad_fractions_are_named():
    for fraction in (-0.1, 1.5, None):
        with pytest.raises(ValueError, match=r'^WarmStartLoss: warm_fraction .* at least 0 and at most 1'):
            WarmStartLoss(WARM, MAIN, warm_fraction=fraction)


def test_the_log_has_one_name_for_both_losses():
    loss = WarmStartLoss(WARM, MAIN)
    names = set()
    for iteration in range(4):
        loss.set_progress(TrainingProgress(iteration=iteration, max_iters=4))
        names.add(loss.loss_name)
    assert names == {'loss_seg'}
