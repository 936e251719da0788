"""DAFormer's head against plain functions, its published size and the names in the released checkpoints."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch.nn import functional as F

from cda_mmseg.engine.composition import read_config

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
init_default_scope('mmseg')
BN = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


def make_head(**changes):
    torch.manual_seed(0)
    head = MODELS.build(dict(type='DAFormerHead', in_channels=[2, 3, 4, 5], channels=6, num_classes=4, **changes))
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
            torch.nn.init.uniform_(module.bias, 0.5, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return head.double().eval()


def naive_scores(weights, maps):
    """Write the head down by its weights' names: embed, resize, concatenate, four branches, 3x3, classes."""

    def norm(name, value):
        order = ('running_mean', 'running_var', 'weight', 'bias')
        return F.batch_norm(value, *(weights[f'{name}.{one}'] for one in order))

    def block(name, value, **options):
        return F.relu(norm(f'{name}.bn', F.conv2d(value, weights[f'{name}.conv.weight'], **options)))

    embedded = []
    for index, one in enumerate(maps):
        weight, bias = (weights[f'embed_layers.{index}.proj.{part}'] for part in ('weight', 'bias'))
        projected = torch.einsum('oc,nchw->nohw', weight, one) + bias[:, None, None]
        embedded.append(F.interpolate(projected, size=maps[0].shape[2:], mode='bilinear', align_corners=False))
    joint = torch.cat(embedded, 1)
    branches = [block('fuse_layer.aspp_modules.0', joint)]
    for index, dilation in ((1, 6), (2, 12), (3, 18)):
        name, width = f'fuse_layer.aspp_modules.{index}', joint.shape[1]
        deep = block(f'{name}.depthwise_conv', joint, padding=dilation, dilation=dilation, groups=width)
        branches.append(block(f'{name}.pointwise_conv', deep))
    fused = block('fuse_layer.bottleneck', torch.cat(branches, 1), padding=1)
    return F.conv2d(fused, weights['conv_seg.weight'], weights['conv_seg.bias'])


def test_scores_equal_plain_functions():
    head = make_head()
    maps = [
        torch.randn(2, width, *size, dtype=torch.float64)
        for width, size in ((2, (20, 28)), (3, (10, 14)), (4, (5, 7)), (5, (3, 4)))
    ]
    with torch.no_grad():
        scores = head(maps)
        torch.testing.assert_close(scores, naive_scores(head.state_dict(), maps), rtol=1e-10, atol=1e-12)
        head.fuse_layer.aspp_modules[3].pointwise_conv.bn.weight.zero_()  # each branch takes part
        assert not torch.allclose(head(maps), scores)


def test_the_weights_have_the_names_of_the_released_checkpoints():
    expected = {f'embed_layers.{index}.proj.{one}' for index in range(4) for one in ('weight', 'bias')}
    blocks = ['fuse_layer.aspp_modules.0', 'fuse_layer.bottleneck']
    blocks += [f'fuse_layer.aspp_modules.{i}.{kind}_conv' for i in (1, 2, 3) for kind in ('depthwise', 'pointwise')]
    for block in blocks:
        expected |= {f'{block}.conv.weight', *(f'{block}.bn.{one}' for one in BN)}
    assert set(make_head().state_dict()) == expected | {'conv_seg.weight', 'conv_seg.bias'}


def test_the_network_has_the_published_size():
    """MiT-B5 with 81.4 M parameters, a head with 3.7 M."""
    config = read_config(CONFIGS / 'daformer_gta2city_mit_b5.py')
    config.model.backbone.init_cfg = None
    model = MODELS.build(config.model)
    sizes = [sum(value.numel() for value in part.parameters()) / 1e6 for part in (model.backbone, model.decode_head)]
    assert sizes == pytest.approx([81.4, 3.7], abs=0.06)
    assert model.decode_head.dropout.p == 0.1
