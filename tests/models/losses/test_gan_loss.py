import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from cda_mmseg.models.losses import GANLoss

LOGITS = torch.tensor([-50.0, -1.5, -0.2, 0.0, 0.7, 1.0, 3.0, 50.0], dtype=torch.float64).view(1, 1, 2, 4)


def naive(gan_type, logits, real, for_discriminator):
    logits = logits.numpy()
    if gan_type == 'lsgan':
        return np.mean((logits - real) ** 2)
    if gan_type == 'vanilla':
        return F.binary_cross_entropy_with_logits(torch.tensor(logits), torch.full(logits.shape, float(real)).double())
    sign = 1 if real else -1
    return np.mean(np.maximum(0, 1 - sign * logits)) if for_discriminator else np.mean(-sign * logits)


@pytest.mark.parametrize('gan_type', ['vanilla', 'lsgan', 'hinge'])
@pytest.mark.parametrize(('real', 'for_discriminator'), list(itertools.product([True, False], repeat=2)))
def test_agrees_with_a_naive_computation(gan_type, real, for_discriminator):
    logits = LOGITS.clone().requires_grad_()
    loss = MODELS.build({'type': 'GANLoss', 'gan_type': gan_type})(logits, real, for_discriminator)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(float(naive(gan_type, LOGITS, real, for_discriminator)), rel=1e-12)
    assert torch.autograd.gradcheck(
        lambda x: GANLoss(gan_type)(x, real, for_discriminator), (LOGITS + 0.01).requires_grad_()
    )


@pytest.mark.parametrize('gan_type', ['vanilla', 'lsgan', 'hinge'])
def test_descent_moves_the_logits_to_what_is_wanted(gan_type):
    for real, for_discriminator in itertools.product([True, False], repeat=2):
        logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
        GANLoss(gan_type)(logits, real, for_discriminator).backward()
        assert ((logits.grad < 0) == real).all()


@pytest.mark.parametrize('gan_type', ['vanilla', 'lsgan', 'hinge'])
def test_half_precision_is_computed_in_float32(gan_type):
    logits = (LOGITS * 10).half()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = GANLoss(gan_type)(logits, True, True)
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert loss == GANLoss(gan_type)(logits.float(), True, True)


def test_unknown_types_are_named():
    with pytest.raises(ValueError, match=r"^GANLoss: gan_type .* 'hinge'.* 'wgan'"):
        GANLoss('wgan')
