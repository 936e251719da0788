"""DeepLabV2's head against NumPy, and the size of the field's network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from cda_mmseg.engine.composition import read_config

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
init_default_scope('mmseg')


def naive_scores(head, maps):
    """Add up, pixel by pixel, what each of the four convolutions sees."""
    _, _, height, width = maps.shape
    total = 0
    for convolution, dilation in zip(head.conv_seg, (6, 12, 18, 24), strict=True):
        weight, bias = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
        padded = np.pad(maps.numpy(), ((0, 0), (0, 0), (dilation, dilation), (dilation, dilation)))
        for row in range(3):
            for column in range(3):
                top, left = row * dilation, column * dilation
                window = padded[:, :, top : top + height, left : left + width]
                total = total + np.einsum('oi,nihw->nohw', weight[:, :, row, column], window)
        total = total + bias[None, :, None, None]
    return total


def test_scores_are_the_sum_of_four_dilated_convolutions():
    head = MODELS.build(dict(type='DeepLabV2Head', in_channels=3, in_index=1, num_classes=4)).double()
    maps = torch.randn(2, 3, 30, 52, dtype=torch.float64)
    scores = head([None, maps])
    np.testing.assert_allclose(scores.detach().numpy(), naive_scores(head, maps), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        head.conv_seg[3].weight.zero_()  # each of them takes part
    assert not torch.allclose(head([None, maps]), scores)


def test_weights_begin_with_a_standard_deviation_of_one_hundredth():
    head = MODELS.build(dict(type='DeepLabV2Head', in_channels=64, num_classes=19))
    head.init_weights()
    assert [c.weight.std().item() for c in head.conv_seg] == pytest.approx([0.01] * 4, rel=0.05)
    assert all((c.bias == 0).all() for c in head.conv_seg)
    assert not any('norm' in name or 'bn' in name for name, _ in head.named_modules())


def test_the_network_has_the_fields_size():
    """44.6 M parameters: 42.5 of ResNet-101, 1.4 of the head, .7 of the auxiliary one; affine BatchNorm is frozen."""
    config = read_config(CONFIGS / 'minent_gta2city_deeplabv2_r101.py')
    config.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(config.model)
    sizes = {
        name: sum(value.numel() for value in getattr(model, name).parameters())
        for name in ('backbone', 'decode_head', 'auxiliary_head')
    }
    assert sizes == dict(
        backbone=42_500_160, decode_head=4 * (2048 * 9 * 19 + 19), auxiliary_head=4 * (1024 * 9 * 19 + 19)
    )
    assert round(sum(sizes.values()) / 1e6, 1) == 44.6
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and not any(value.requires_grad for norm in norms for value in norm.parameters())
    assert model.auxiliary_head.loss_decode.loss_weight == 0.1
    assert [conv.dilation for conv in model.decode_head.conv_seg] == [(d, d) for d in (6, 12, 18, 24)]
