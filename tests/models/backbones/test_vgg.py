import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import MODELS
from torch import nn

from cda_mmseg.models.backbones import VGG

# Written down from torchvision.models.vgg16().state_dict().
TORCHVISION_VGG16 = {
    'features.0': (64, 3),
    'features.2': (64, 64),
    'features.5': (128, 64),
    'features.7': (128, 128),
    'features.10': (256, 128),
    'features.12': (256, 256),
    'features.14': (256, 256),
    'features.17': (512, 256),
    'features.19': (512, 512),
    'features.21': (512, 512),
    'features.24': (512, 512),
    'features.26': (512, 512),
    'features.28': (512, 512),
}
# Positions of the convolutions in torchvision's `features`, and in those of its `_bn` variants for VGG-11.
TORCHVISION_POSITIONS = {
    11: [0, 3, 6, 8, 11, 13, 16, 18],
    13: [0, 2, 5, 7, 10, 12, 15, 17, 20, 22],
    16: [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
    19: [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
}
TORCHVISION_BN_POSITIONS_11 = [0, 4, 8, 11, 15, 18, 22, 25]


def small_vgg(**arguments):
    return MODELS.build(dict(type='VGG', **dict(dict(depth=11, base_channels=4, fc_channels=16), **arguments)))


def naive_vgg16_maps(vgg, x):
    """Walk through VGG-16 by torchvision's key names, with torch's functions alone."""
    state = vgg.state_dict()
    maps = []
    for stage in ([0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]):
        for position in stage:
            weight, bias = (state[f'features.{position}.{kind}'] for kind in ('weight', 'bias'))
            x = F.conv2d(x, weight, bias, padding=1).clamp_min(0)
        x = F.max_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-math.inf), 2)
        maps.append(x)
    x = F.conv2d(x, state['fc.fc6.weight'], state['fc.fc6.bias'], padding=3).clamp_min(0)
    maps.append(F.conv2d(x, state['fc.fc7.weight'], state['fc.fc7.bias']).clamp_min(0))
    return maps


def test_state_dict_of_the_full_network_is_torchvisions_with_fc6_and_fc7():
    with torch.device('meta'):
        shapes = {key: tuple(value.shape) for key, value in VGG().state_dict().items()}
    expected = {}
    for name, (out_channels, in_channels) in TORCHVISION_VGG16.items():
        expected[f'{name}.weight'] = (out_channels, in_channels, 3, 3)
        expected[f'{name}.bias'] = (out_channels,)
    expected |= {
        'fc.fc6.weight': (4096, 512, 7, 7),
        'fc.fc6.bias': (4096,),
        'fc.fc7.weight': (4096, 4096, 1, 1),
        'fc.fc7.bias': (4096,),
    }
    assert shapes == expected


@pytest.mark.parametrize('depth', [11, 13, 16, 19])
def test_convolutions_stand_where_torchvision_has_them(depth):
    vgg = small_vgg(depth=depth)
    assert [i for i, layer in enumerate(vgg.features) if isinstance(layer, nn.Conv2d)] == TORCHVISION_POSITIONS[depth]


def test_convolutions_with_norm_stand_where_torchvision_bn_has_them():
    vgg = small_vgg(norm_cfg=dict(type='BN'))
    positions = [i for i, layer in enumerate(vgg.features) if isinstance(layer, nn.Conv2d)]
    assert positions == TORCHVISION_BN_POSITIONS_11
    assert all(isinstance(vgg.features[i + 1], nn.BatchNorm2d) for i in positions)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 75), width=st.integers(1, 75))
def test_maps_of_any_input_size_equal_a_naive_network(height, width):
    torch.manual_seed(height * 100 + width)
    vgg = small_vgg(depth=16, base_channels=2, out_indices=(0, 1, 2, 3, 4, 5)).double().eval()
    maps = vgg(x := torch.randn(1, 3, height, width, dtype=torch.float64))
    assert [tuple(m.shape[2:]) for m in maps] == [
        (math.ceil(height / stride), math.ceil(width / stride)) for stride in (2, 4, 8, 16, 32, 32)
    ]
    for ours, naive in zip(maps, naive_vgg16_maps(vgg, x), strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('out_indices', [(0,), (2, 3), (4,), (1, 5), (2, 3, 5)])
@pytest.mark.parametrize('norm_cfg', [None, dict(type='GN', num_groups=2)])
def test_every_parameter_gets_a_gradient(out_indices, norm_cfg):
    torch.manual_seed(0)
    vgg = small_vgg(out_indices=out_indices, norm_cfg=norm_cfg)
    maps = vgg(torch.randn(2, 3, 40, 50))
    assert len(maps) == len(out_indices)
    sum(m.square().sum() for m in maps).backward()
    assert [name for name, p in vgg.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_no_convolution_has_a_bias_in_front_of_a_norm():
    biased = [name for name, m in small_vgg().named_modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert len(biased) == 10
    normed = small_vgg(norm_cfg=dict(type='GN', num_groups=2))
    assert [m for m in normed.modules() if isinstance(m, nn.Conv2d) and m.bias is not None] == []
    assert sum(isinstance(m, nn.GroupNorm) for m in normed.modules()) == 10


def test_dropout_follows_fc6_and_fc7_in_training_only():
    torch.manual_seed(0)
    vgg = small_vgg(out_indices=(5,), fc_channels=64, dropout=0.25).train()
    vgg.fc.fc7.bias.data.fill_(1e4)
    dropped = [(vgg(torch.randn(2, 3, 64, 64))[0] == 0).double().mean().item() for _ in range(20)]
    assert sum(dropped) / 20 == pytest.approx(0.25, abs=0.02)
    assert (vgg.eval()(torch.randn(2, 3, 64, 64))[0] > 0).all()
    assert sum(isinstance(m, nn.Dropout) for m in vgg.fc) == 2


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 6])
def test_frozen_stages_stay_as_they_are(frozen_stages):
    vgg = small_vgg(frozen_stages=frozen_stages, norm_cfg=dict(type='BN')).train()
    vgg.requires_grad_(True)
    vgg.train()
    trained = {name for name, p in vgg.named_parameters() if p.requires_grad}
    stage_of_layer = [sum(i >= end for end in vgg.stage_ends) for i in range(len(vgg.features))]
    expected = {
        name
        for name, _ in vgg.named_parameters()
        if (5 if name.startswith('fc') else stage_of_layer[int(name.split('.')[1])]) >= frozen_stages
    }
    assert trained == expected
    means = {name: value.clone() for name, value in vgg.state_dict().items() if 'running_mean' in name}
    vgg(torch.randn(2, 3, 64, 64))
    moved = {name for name, value in means.items() if not torch.equal(value, vgg.state_dict()[name])}
    assert {name.rsplit('.', 1)[0] for name in moved} == {
        name.rsplit('.', 1)[0] for name in expected if name.replace('weight', 'running_mean') in means
    }


def test_norm_eval_keeps_running_statistics():
    vgg = small_vgg(norm_cfg=dict(type='BN'), norm_eval=True).train()
    before = {name: value.clone() for name, value in vgg.named_buffers()}
    vgg(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in vgg.named_buffers())
    assert vgg.fc.dropout6.training


def test_recomputing_stages_changes_no_bit():
    results = []
    for with_cp in (False, True):
        torch.manual_seed(3)
        vgg = small_vgg(with_cp=with_cp).train()
        image = torch.randn(1, 3, 45, 70)
        maps = vgg(image)
        # Other random numbers between forward and backward must not change the recomputed dropout masks.
        torch.rand(7)
        sum(m.square().mean() for m in maps).backward()
        results.append([*maps, *(p.grad for p in vgg.parameters()), torch.rand(3)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_recomputing_stages_keeps_less_for_the_backward_pass():
    def kept_bytes(with_cp):
        storages = {}
        vgg = small_vgg(with_cp=with_cp).train()

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            maps = vgg(torch.randn(1, 3, 128, 128))
        return sum(storages.values()), maps

    assert kept_bytes(True)[0] < 0.5 * kept_bytes(False)[0]


def test_initial_weights_keep_the_size_of_activations():
    torch.manual_seed(0)
    vgg = small_vgg(depth=19, base_channels=16, fc_channels=256)
    vgg.init_weights()
    maps = vgg.eval()(torch.randn(4, 3, 224, 224))
    assert all(0.2 < m.square().mean().sqrt() < 5 for m in maps)
    # He's rule for the forward pass, where fan-in and fan-out differ.
    assert vgg.fc.fc6.weight.std().item() == pytest.approx((2 / (128 * 49)) ** 0.5, rel=0.01)
    assert not any(p.any() for name, p in vgg.named_parameters() if name.endswith('bias'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(depth=12), 'depth=12'),
        (dict(out_indices=()), 'out_indices'),
        (dict(out_indices=(3, 2)), 'must ascend'),
        (dict(out_indices=(2, 6)), 'within 0 to 5'),
        (dict(frozen_stages=7), 'frozen_stages=7'),
        (dict(fc_channels=None), 'fc_channels is None'),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        VGG(**dict(dict(base_channels=2, fc_channels=4), **arguments))
