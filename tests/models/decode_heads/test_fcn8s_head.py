import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from cda_mmseg.models.backbones import VGG
from cda_mmseg.models.decode_heads import FCN8sHead


def random_head(**arguments):
    torch.manual_seed(0)
    arguments = dict(dict(in_channels=[4, 6, 8], num_classes=5), **arguments)
    head = MODELS.build(dict(type='FCN8sHead', **arguments)).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def interpolation_matrix(source, target):
    """Linear interpolation between pixel centres, the ends held."""
    matrix = np.zeros((target, source))
    for row in range(target):
        position = min(max((row + 0.5) * source / target - 0.5, 0), source - 1)
        left = min(int(position), source - 1)
        right = min(left + 1, source - 1)
        matrix[row, left] += 1 - (position - left)
        matrix[row, right] += position - left
    return matrix


def naive_scores(head, maps, scales):
    """FCN8s with NumPy: score each map, beginning at the deepest, upsample, add."""
    layers = [*((m.weight, m.bias) for m in head.skip_scores), (head.conv_seg.weight, head.conv_seg.bias)]
    result = None
    for feature, (weight, bias), scale in reversed(list(zip(maps, layers, [*scales, 1], strict=True))):
        weight, bias = weight.detach().numpy()[:, :, 0, 0], bias.detach().numpy()
        score = np.einsum('kc,nchw->nkhw', weight, scale * feature.numpy()) + bias[None, :, None, None]
        if result is not None:
            rows = interpolation_matrix(result.shape[2], score.shape[2])
            columns = interpolation_matrix(result.shape[3], score.shape[3])
            score = score + np.einsum('ai,bj,nkij->nkab', rows, columns, result)
        result = score
    return torch.from_numpy(result)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    scales=st.sampled_from([None, (1.0, 1.0), (0.0001, 0.01), (2.0, 1.0)]),
)
def test_scores_equal_a_naive_fcn8s(height, width, scales):
    head = random_head(skip_scales=scales)
    maps = [
        torch.randn(2, channels, -(-height // stride), -(-width // stride), dtype=torch.float64)
        for channels, stride in zip((4, 6, 8), (8, 16, 32), strict=True)
    ]
    expected = naive_scores(head, maps, scales or (1, 1))
    torch.testing.assert_close(head(maps), expected, rtol=1e-10, atol=1e-10)


def test_any_number_of_maps_at_any_place():
    head = random_head(in_channels=[3, 8], in_index=[3, 1])
    maps = [torch.randn(1, channels, 4, 4, dtype=torch.float64) for channels in (9, 8, 9, 3)]
    torch.testing.assert_close(head(maps), naive_scores(head, [maps[3], maps[1]], (1,)))


def test_upsampling_has_no_parameters():
    head = FCN8sHead(num_classes=19)
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {
        'conv_seg.weight': (19, 4096, 1, 1),
        'conv_seg.bias': (19,),
        'skip_scores.0.weight': (19, 256, 1, 1),
        'skip_scores.0.bias': (19,),
        'skip_scores.1.weight': (19, 512, 1, 1),
        'skip_scores.1.bias': (19,),
    }
    assert list(head.buffers()) == []


def test_zero_initialised_scores_are_uniform_and_can_be_learnt():
    torch.manual_seed(0)
    head = FCN8sHead([4, 6, 8], num_classes=19)
    head.init_weights()
    maps = [torch.randn(1, channels, size, size) for channels, size in ((4, 8), (6, 4), (8, 2))]
    assert not head(maps).any()
    nn.functional.cross_entropy(head(maps), torch.zeros(1, 8, 8, dtype=torch.long)).backward()
    assert all(p.grad.any() for p in head.parameters())


@pytest.mark.parametrize(
    ('arguments', 'std'),
    [(dict(zero_init=False), 0.01), (dict(init_cfg=dict(type='Normal', layer='Conv2d', std=2)), 2)],
)
def test_other_initialisations(arguments, std):
    torch.manual_seed(0)
    head = FCN8sHead([64, 64, 64], num_classes=19, **arguments)
    head.init_weights()
    for layer in (head.conv_seg, *head.skip_scores):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.1)
        assert not layer.bias.any()


def test_loss_through_vgg_reaches_every_parameter_and_predicts_at_image_size():
    torch.manual_seed(0)
    vgg = VGG(depth=11, base_channels=4, fc_channels=16)
    head = FCN8sHead([16, 32, 16], num_classes=3, zero_init=False)
    head.init_weights()
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 45, 70))))
    sample.set_metainfo(dict(img_shape=(45, 70)))
    maps = vgg(torch.randn(1, 3, 45, 70))
    assert head(maps).shape == (1, 3, 6, 9)
    losses = head.loss(maps, [sample], {})
    assert set(losses) == {'loss_ce', 'acc_seg'}
    losses['loss_ce'].backward()
    assert all(p.grad is not None for module in (vgg, head) for p in module.parameters())
    assert head.predict(maps, [sample.metainfo], {}).shape == (1, 3, 45, 70)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [(dict(in_channels=[4, 6], in_index=[0, 1, 2]), 'differ in length'), (dict(skip_scales=(1.0,)), 'skip_scales')],
)
def test_maps_and_scales_must_match(arguments, message):
    with pytest.raises(ValueError, match=message):
        FCN8sHead(num_classes=3, **arguments)


def test_maps_are_normalised_before_they_are_scored():
    head = random_head(norm_cfg=dict(type='GN', num_groups=2)).eval()
    maps = [torch.randn(2, channels, size, size).double() for channels, size in ((4, 8), (6, 4), (8, 2))]
    normalised = [
        nn.functional.group_norm(one, 2, norm.weight, norm.bias).detach()
        for one, norm in zip(maps, head.norms, strict=True)
    ]
    torch.testing.assert_close(head(maps), naive_scores(head, normalised, [1, 1]))
    assert not any('norm' in name for name in random_head().state_dict())
