import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import MODELS
from torch import nn

from cda_mmseg.models.discriminators import PatchGANDiscriminator


@pytest.mark.parametrize(('num_layers', 'field'), [(1, 4), (2, 10), (3, 22), (4, 46), (5, 94)])
def test_receptive_field_is_the_documented_one(num_layers, field):
    assert field == 3 * 2**num_layers - 2
    torch.manual_seed(0)
    discriminator = PatchGANDiscriminator(base_channels=2, num_layers=num_layers).double()
    pictures = torch.randn(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    logits = discriminator(pictures)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    seen = pictures.grad[0].abs().sum(0)
    for axis in (0, 1):
        (indices,) = seen.sum(axis).nonzero(as_tuple=True)
        assert indices.max() - indices.min() + 1 == field


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    num_layers=st.integers(1, 3),
    out_channels=st.integers(1, 2),
)
def test_logits_equal_naive_convolutions(height, width, num_layers, out_channels):
    discriminator = MODELS.build(
        dict(type='PatchGANDiscriminator', base_channels=4, num_layers=num_layers, out_channels=out_channels)
    ).double()
    pictures = torch.randn(2, 3, height, width, dtype=torch.float64)
    expected = pictures
    parameters = list(discriminator.parameters())
    for index, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2], strict=True)):
        expected = F.conv2d(expected, weight, bias, stride=2, padding=1)
        if index < num_layers - 1:
            expected = torch.where(expected > 0, expected, 0.2 * expected)
    assert index == num_layers - 1
    logits = discriminator(pictures)
    assert logits.shape == (2, out_channels, height // 2**num_layers, width // 2**num_layers)
    torch.testing.assert_close(logits, expected)


def test_default_widths_are_adaptsegnets():
    widths = [m.out_channels for m in PatchGANDiscriminator().modules() if isinstance(m, nn.Conv2d)]
    assert widths == [64, 128, 256, 512, 1]
    deep = PatchGANDiscriminator(base_channels=4, num_layers=7)
    assert [m.out_channels for m in deep.modules() if isinstance(m, nn.Conv2d)] == [4, 8, 16, 32, 32, 32, 1]


@pytest.mark.parametrize('norm_cfg', [None, dict(type='IN'), dict(type='GN', num_groups=2)])
def test_every_parameter_gets_a_gradient_and_no_bias_stands_before_a_norm(norm_cfg):
    torch.manual_seed(0)
    discriminator = PatchGANDiscriminator(base_channels=4, num_layers=4, norm_cfg=norm_cfg)
    discriminator.init_weights()
    discriminator(torch.randn(1, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in discriminator.named_parameters() if p.grad is None or not p.grad.any()] == []
    biases = [m.bias is not None for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert biases == ([True] * 4 if norm_cfg is None else [True, False, False, True])


def test_first_logits_are_undecided():
    torch.manual_seed(0)
    discriminator = PatchGANDiscriminator()
    discriminator.init_weights()
    logits = discriminator(torch.rand(2, 3, 128, 128) * 2 - 1)
    assert logits.abs().max() < 0.5
    assert discriminator.layers[1].conv.weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize('size', [(31, 64), (64, 31), (1, 1)])
def test_too_small_pictures_are_refused_with_the_least_size(size):
    with pytest.raises(ValueError, match=f'pictures of \\({size[0]}, {size[1]}\\).*num_layers=5.*32x32'):
        PatchGANDiscriminator(base_channels=2)(torch.zeros(1, 3, *size))
    assert PatchGANDiscriminator(base_channels=2)(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 1, 1)


def test_no_layers_are_refused():
    with pytest.raises(ValueError, match='num_layers=0'):
        PatchGANDiscriminator(num_layers=0)
