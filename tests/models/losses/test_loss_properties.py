"""Properties of the losses that have no labelled class: those of the judges, and the one that changes between two."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cda_mmseg.models.losses import GANLoss, WarmStartLoss
from cda_mmseg.utils.progress import TrainingProgress

LOGITS = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=12)
every_type = pytest.mark.parametrize('gan_type', ['vanilla', 'lsgan', 'hinge'])


def value_and_gradient(gan_type, logits, real, for_discriminator):
    logits = torch.tensor(logits, dtype=torch.float64).view(1, 1, 1, -1).requires_grad_()
    value = GANLoss(gan_type)(logits, real, for_discriminator)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.item(), gradient.flatten()


@every_type
@given(logits=LOGITS, real=st.booleans(), for_discriminator=st.booleans())
def test_is_the_mean_over_the_patches_and_stays_finite(gan_type, logits, real, for_discriminator):
    value, gradient = value_and_gradient(gan_type, logits, real, for_discriminator)
    each = [value_and_gradient(gan_type, [logit], real, for_discriminator) for logit in logits]
    assert math.isfinite(value) and gradient.isfinite().all()
    assert value == pytest.approx(sum(single for single, _ in each) / len(each), rel=1e-9, abs=1e-9)
    expected = torch.cat([single for _, single in each]) / len(each)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('gan_type', ['vanilla', 'hinge'])
@given(logits=LOGITS, for_discriminator=st.booleans())
def test_real_and_fake_mirror_each_other(gan_type, logits, for_discriminator):
    """What "real" says of a logit, "fake" says of its negative. (The least-squares targets are 1 and 0.)"""
    value, gradient = value_and_gradient(gan_type, logits, True, for_discriminator)
    mirrored, other = value_and_gradient(gan_type, [-logit for logit in logits], False, for_discriminator)
    assert value == pytest.approx(mirrored, rel=1e-12, abs=1e-12)
    torch.testing.assert_close(gradient, -other)


@every_type
@given(logit=st.floats(-1e4, 1e4), real=st.booleans(), step=st.floats(1e-3, 1e3))
def test_never_rewards_a_discriminator_for_moving_further_from_the_truth(gan_type, logit, real, step):
    target = {'lsgan': float(real)}.get(gan_type, math.inf if real else -math.inf)
    further = logit - math.copysign(step, target - logit)
    near, far = (value_and_gradient(gan_type, [value], real, True)[0] for value in (logit, further))
    assert far >= near


@given(fraction=st.floats(0, 1), max_iters=st.integers(1, 10**6), data=st.data())
def test_is_warm_up_to_the_share_and_never_again(fraction, max_iters, data):
    loss = WarmStartLoss(dict(type='SoftmaxCrossEntropyLoss'), dict(type='ConservativeLoss'), fraction)
    first, second = sorted(data.draw(st.integers(0, max_iters - 1)) for _ in range(2))
    warm = []
    for iteration in (first, second):
        loss.set_progress(TrainingProgress(iteration=iteration, max_iters=max_iters))
        warm.append(loss.in_force is loss.warm)
        # at the boundary itself, products of floats decide
        if abs(iteration - fraction * max_iters) > 1e-6:
            assert warm[-1] == (iteration < fraction * max_iters)
    assert warm in ([True, True], [True, False], [False, False])
