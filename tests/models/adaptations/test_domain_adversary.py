"""Adversaries of maps against plain PyTorch steps, and the published constants that are easy to get wrong."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch.nn import functional as F

from benchmarks.naive_methods import PlainConfusion, PlainOutputSpace, PlainReversal, bce, entropy_maps, softmax
from cda_mmseg.models.adaptations import DomainConfusion, GradientReversal, OutputSpaceAdversary
from cda_mmseg.models.adaptations.class_maps import self_information
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.adaptations.plain_step import config, train, train_plainly
from tests.models.segmentors.tiny_model import build
from tests.models.segmentors.trained import differences

init_default_scope('mmseg')
VANILLA = dict(type='GANLoss', gan_type='vanilla')
PATCHES = dict(type='PatchGANDiscriminator', base_channels=4, num_layers=3)
CELLS = dict(type='FeatureDiscriminator', channels=(8, 4))


def output_space(**changes) -> dict:
    return dict(type='OutputSpaceAdversary', discriminator=PATCHES, loss_gan=VANILLA, weight=0.1, **changes)


def test_binary_cross_entropy_is_torchs():
    logits = torch.randn(3, 1, 4, 5)
    for label in (0.0, 1.0):
        torch.testing.assert_close(
            bce(logits, label), F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
        )


def mse(answers, label):
    """Squared distance with the kernels of ours."""
    loss = (answers - label).square().mean()
    torch.testing.assert_close(loss, F.mse_loss(answers, torch.full_like(answers, label)))
    return loss


def network(model, name, player='output_discriminator'):
    return getattr(model.adaptations[name], player).network


def pair(**settings):
    return build(config(**settings)), build(config(**settings))


@pytest.mark.parametrize('maps, plain', [('softmax', softmax), ('self_information', entropy_maps)])
def test_one_level_equals_the_published_loop_bit_for_bit(maps, plain):
    ours, naive = pair(space=output_space(maps=maps))
    before = build(config(space=output_space(maps=maps)))
    train(ours, ['output_discriminator'])
    train_plainly(PlainOutputSpace(naive, {0: (network(naive, 'space'), 0.1)}, plain))
    assert len(differences(before, ours)) == len(list(ours.parameters()))
    assert differences(ours, naive) == {}


def test_two_levels_equal_the_published_loop_bit_for_bit():
    auxiliary = output_space(head='aux', player='second') | dict(weight=0.02)
    ours, naive = pair(two_heads=True, main=output_space(), aux=auxiliary)
    log = train(ours, ['output_discriminator', 'second'])[0]
    levels = {0: (network(naive, 'main'), 0.1), 1: (network(naive, 'aux', 'second'), 0.02)}
    train_plainly(PlainOutputSpace(naive, levels))
    assert differences(ours, naive) == {}
    assert {'encoder.loss_output_discriminator', 'encoder.loss_second', 'second.accuracy'} <= log.keys()


def test_least_squares_equal_the_published_loop_bit_for_bit():
    settings = output_space() | dict(loss_gan=dict(type='GANLoss', gan_type='lsgan'))
    ours, naive = pair(space=settings)
    train(ours, ['output_discriminator'])
    train_plainly(PlainOutputSpace(naive, {0: (network(naive, 'space'), 0.1)}, loss=mse))
    assert differences(ours, naive) == {}


@pytest.mark.parametrize(
    'wrong',
    [
        dict(maps=entropy_maps),
        dict(source=1.0, target=0.0),  # labels the other way round
        dict(weight=0.2),
    ],
)
def test_equality_can_fail(wrong):
    ours, naive = pair(space=output_space())
    train(ours, ['output_discriminator'], 2)
    weight = wrong.pop('weight', 0.1)
    train_plainly(PlainOutputSpace(naive, {0: (network(naive, 'space'), weight)}, **wrong), 2)
    assert differences(ours, naive) != {}


def test_the_discriminator_learns_from_predictions_of_before_the_update_with_halved_terms():
    """With SGD a missing half would show; with Adam it hardly does."""
    model = build(config(space=output_space()))
    seen = []
    network(model, 'space').register_forward_hook(lambda _, inputs, logits: seen.append((inputs[0], logits)))
    log = train(model, ['output_discriminator'], 1)[0]
    fooled, (of_source, first), (of_target, second) = seen
    assert fooled[0].requires_grad and not of_source.requires_grad and not of_target.requires_grad
    assert torch.equal(fooled[0], of_target)
    assert log['output_discriminator.loss'] == pytest.approx(((bce(first, 0.0) + bce(second, 1.0)) / 2).item())
    assert log['encoder.loss_output_discriminator'] == pytest.approx(0.1 * bce(fooled[1], 0.0).item())
    assert OutputSpaceAdversary.discriminator_factor == 0.5 and GradientReversal.discriminator_factor == 1.0


def test_self_information_against_numpy_and_its_bounds():
    probabilities = torch.rand(2, 19, 3, 4, dtype=torch.float64).softmax(1)
    values = probabilities.numpy()
    expected = -values * np.log2(values + 1e-30) / np.log2(19)
    np.testing.assert_allclose(self_information(probabilities).numpy(), expected, rtol=1e-13)
    uniform = torch.full((1, 19, 1, 1), 1 / 19)
    assert self_information(uniform).sum().item() == pytest.approx(1)
    sure = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    maps = self_information(sure)
    maps.sum().backward()
    assert maps.flatten().tolist() == [0.0, 0.0] and sure.grad.isfinite().all()
    most = self_information(torch.linspace(0, 1, 10001).view(1, 1, 1, -1).expand(1, 19, 1, -1)).max().item()
    assert most == pytest.approx(0.5307 / math.log2(19), rel=1e-3)


@pytest.mark.parametrize('factor', [1.0, 0.3])
def test_reversal_equals_a_true_reversal_layer_bit_for_bit(factor):
    """With dropout in E and D: both updates are one backward pass there."""
    settings = dict(type='GradientReversal', discriminator=CELLS, loss_gan=VANILLA, weight=factor)
    ours, naive = pair(reversal=settings)
    train(ours, ['feature_discriminator'])
    train_plainly(PlainReversal(naive, network(naive, 'reversal', 'feature_discriminator'), factor))
    assert differences(ours, naive) == {}
    other = build(config(reversal=settings))
    train_plainly(PlainReversal(other, network(other, 'reversal', 'feature_discriminator'), 0.5))
    assert differences(ours, other) != {}


def test_strength_of_the_reversal_is_a_function_of_the_iteration():
    reversal = build(
        config(r=dict(type='GradientReversal', discriminator=CELLS, loss_gan=VANILLA, begin=0.2, end=0.7))
    ).adaptations['r']
    shares = {0.0: 0.0, 0.05: 0.2449, 0.1: 0.4621, 0.25: 0.8483, 0.5: 0.9866}
    for share, expected in shares.items():
        assert reversal.strength(TrainingProgress(200 + int(share * 500), 1000)) == pytest.approx(expected, abs=5e-5)


def test_confusion_equals_a_plain_step():
    settings = dict(type='DomainConfusion', discriminator=CELLS, loss_gan=VANILLA, weight=0.1)
    ours, naive = pair(confusion=settings)
    train(ours, ['feature_discriminator'])
    train_plainly(PlainConfusion(naive, network(naive, 'confusion', 'feature_discriminator')))
    assert differences(ours, naive) == {}
    other = build(config(confusion=settings))
    train_plainly(PlainConfusion(other, network(other, 'confusion', 'feature_discriminator'), 0.2))
    assert differences(ours, other) != {}


def test_confusion_pulls_logits_to_the_middle_from_both_sides():
    """The gradient of a logit is (sigmoid - 1/2) for either domain, at most a half."""
    loss = MODELS.build(VANILLA)
    logits = torch.tensor([-3.0, 0.0, 3.0, 30.0], requires_grad=True)
    for is_target in (False, True):
        (0.5 * loss(logits, is_target, for_discriminator=False) * len(logits)).backward()
    torch.testing.assert_close(logits.grad, logits.detach().sigmoid() - 0.5)


def test_the_discriminators_are_the_published_ones():
    """AdaptSegNet's five convolutions; CyCADA's three on fc7."""
    patches = MODELS.build(dict(type='PatchGANDiscriminator', in_channels=19))
    convolutions = [module for module in patches.modules() if isinstance(module, torch.nn.Conv2d)]
    shapes = [(c.in_channels, c.out_channels, *c.kernel_size, *c.stride, *c.padding) for c in convolutions]
    widths = [19, 64, 128, 256, 512, 1]
    assert shapes == [(i, o, 4, 4, 2, 2, 1, 1) for i, o in pairwise(widths)]
    activations = [m.negative_slope for m in patches.modules() if isinstance(m, torch.nn.LeakyReLU)]
    assert activations == [0.2] * 4
    assert not any('norm' in name for name, _ in patches.named_parameters())
    assert patches(torch.zeros(1, 19, 64, 96)).shape == (1, 1, 2, 3)
    cells = MODELS.build(dict(type='FeatureDiscriminator', in_channels=4096))
    assert [tuple(p.shape[:2]) for p in cells.parameters() if p.dim() == 4] == [(1024, 4096), (512, 1024), (1, 512)]
    assert [m.p for m in cells.modules() if isinstance(m, torch.nn.Dropout2d)] == [0.5, 0.5]


@pytest.mark.parametrize(
    'settings, message',
    [
        (output_space(head='aux'), r"OutputSpaceAdversary: head='aux' is none of the heads of the model, \['decode'\]"),
        (output_space() | dict(weight=0), 'OutputSpaceAdversary: weight must be .* greater than 0'),
        (output_space(maps='scores'), 'OutputSpaceAdversary: maps must be one of'),
        (
            dict(type='DomainConfusion', discriminator=CELLS, loss_gan=VANILLA, in_index=-1),
            r'DomainConfusion: the decode head reads the maps \[0, 1, 2\] and not in_index=-1',
        ),
        (
            dict(type='DomainConfusion', discriminator=CELLS, loss_gan=dict(type='GANLoss', gan_type='hinge')),
            "DomainConfusion: with gan_type='hinge' the terms for both labels cancel out",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(config(one=settings))


def test_a_head_of_one_output_is_refused():
    settings = config(space=output_space())
    settings['decode_head'] = settings['decode_head'] | dict(num_classes=2, out_channels=1, threshold=0.5)
    with pytest.raises(ValueError, match='the decode head has 1 output'):
        build(settings)


def test_channels_of_a_map_that_no_head_reads_are_named():
    cells = CELLS | dict(in_channels=32)
    model = build(config(c=dict(type='DomainConfusion', discriminator=cells, loss_gan=VANILLA, in_index=1)))
    assert isinstance(model.adaptations['c'], DomainConfusion)
    train(model, ['feature_discriminator'], 1)
    assert network(model, 'c', 'feature_discriminator').layers[0].in_channels == 32
