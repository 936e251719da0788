import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine import init_default_scope
from mmseg.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cda_mmseg.models.backbones import VGG
from cda_mmseg.models.decode_heads import FCN8sHead
from cda_mmseg.models.generators import ImageGenerator


def small_generator(**arguments):
    arguments = dict(dict(in_channels=[6, 7, 8], in_index=[0, 1, 2], base_channels=4), **arguments)
    return MODELS.build(dict(type='ImageGenerator', **arguments))


def maps_of(height, width, channels=(6, 7, 8), strides=(8, 16, 32), batch=1, dtype=torch.float32):
    return [
        torch.randn(batch, c, math.ceil(height / s), math.ceil(width / s), dtype=dtype)
        for c, s in zip(channels, strides, strict=True)
    ]


def naive_picture(generator, maps, size):
    """Compute the generator's answer without noise, from its weights alone."""
    state = generator.state_dict()

    def up(x, to):
        return F.interpolate(x, to, mode='bilinear', align_corners=False)

    def block(x, name):
        x = F.conv2d(x, state[f'{name}.conv.weight'], padding=1)
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
        return ((x - mean) / (variance + 1e-5).sqrt()).clamp_min(0)

    def lateral(i):
        x = maps[i] / maps[i].square().mean((1, 2, 3), keepdim=True).sqrt()
        return F.conv2d(x, state[f'laterals.{i}.conv.weight'], state[f'laterals.{i}.conv.bias']).clamp_min(0)

    x = lateral(2)
    for i in (1, 0):
        x = block(torch.cat([up(x, maps[i].shape[2:]), lateral(i)], 1), f'fusions.{i}')
    h, w = x.shape[2:]
    for i in range(3):
        to = [round(a ** ((2 - i) / 3) * b ** ((i + 1) / 3)) for a, b in ((h, size[0]), (w, size[1]))]
        x = block(up(x, to), f'upsamplings.{i}')
    return F.conv2d(x, state['to_picture.weight'], state['to_picture.bias'], padding=1).tanh()


@settings(max_examples=25, deadline=None)
@given(height=st.integers(17, 120), width=st.integers(17, 120))
def test_pictures_of_any_size_equal_a_naive_decoder(height, width):
    torch.manual_seed(height * 200 + width)
    generator = small_generator().double().eval()
    maps = maps_of(height, width, batch=2, dtype=torch.float64)
    pictures = generator(maps, (height, width))
    assert pictures.shape == (2, 3, height, width)
    torch.testing.assert_close(pictures, naive_picture(generator, maps, (height, width)), rtol=1e-9, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), training=st.booleans())
def test_tiny_pictures_work(height, width, training):
    torch.manual_seed(0)
    generator = small_generator().train(training)
    pictures = generator(maps_of(height, width), (height, width))
    assert pictures.shape == (1, 3, height, width)
    assert pictures.isfinite().all()
    pictures.sum().backward()
    assert all(p.grad is not None for p in generator.parameters())


def test_steps_double_the_size_from_stride_8():
    generator = small_generator()
    sizes = []
    for block in generator.upsamplings:
        block.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[2:])))
    generator(maps_of(64, 128), (64, 128))
    assert sizes == [(16, 32), (32, 64), (64, 128)]


BACKBONES = {
    'VGG': (dict(type='VGG', depth=11, base_channels=4, fc_channels=16), [16, 32, 16], 3),
    'ResNetV1c': (
        dict(type='ResNetV1c', depth=18, stem_channels=8, base_channels=8, norm_eval=True, strides=(1, 2, 1, 1)),
        [8, 16, 32, 64],
        2,
    ),
    'MixVisionTransformer': (
        dict(type='MixVisionTransformer', embed_dims=8, num_heads=[1, 2, 2, 2], num_layers=[1, 1, 1, 1]),
        [8, 16, 16, 16],
        2,
    ),
    'SwinTransformer': (
        dict(type='SwinTransformer', embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), window_size=3),
        [8, 16, 32, 64],
        2,
    ),
    'VisionTransformer': (
        dict(
            type='VisionTransformer',
            img_size=64,
            patch_size=16,
            embed_dims=16,
            num_layers=2,
            num_heads=2,
            out_indices=(0, 1),
        ),
        [16, 16],
        4,
    ),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_rebuilds_from_backbones_of_mmseg_by_config_alone(name):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    config, channels, num_upsamplings = BACKBONES[name]
    backbone = MODELS.build(config)
    generator = small_generator(
        in_channels=channels, in_index=list(range(len(channels))), num_upsamplings=num_upsamplings
    )
    generator.init_weights()
    image = torch.randn(1, 3, 77, 101)
    pictures = generator(backbone(image), (77, 101))
    assert pictures.shape == image.shape
    (pictures - image.tanh()).abs().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert any(p.grad is not None and p.grad.any() for p in backbone.parameters())


def test_learns_to_rebuild_a_picture():
    torch.manual_seed(0)
    backbone = VGG(depth=11, base_channels=8, out_indices=(1, 2, 3)).eval()
    generator = small_generator(in_channels=[16, 32, 64], num_upsamplings=2, base_channels=8)
    generator.init_weights()
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 64), indexing='ij')
    picture = torch.stack([rows.sign() * 0.5, columns, (4 * rows * columns).sin()])[None]
    with torch.no_grad():
        maps = backbone(picture)
    optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (generator(maps, (48, 64)) - picture).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.4
    assert losses[-1] < 0.2


def test_range_is_that_of_tanh():
    torch.manual_seed(0)
    generator = small_generator()
    generator.to_picture.weight.data.mul_(100)
    pictures = generator([100 * m for m in maps_of(64, 64)], (64, 64))
    assert -1 <= pictures.min() < -0.99
    assert 0.99 < pictures.max() <= 1


def test_noise_is_gaussian_and_relative_to_each_samples_rms():
    torch.manual_seed(0)
    generator = small_generator(noise_std=0.3).train()
    maps = [m * scale for m, scale in zip(maps_of(256, 512, batch=2), (0.01, 1.0, 1000.0), strict=True)]
    maps[0][1] *= 50
    noisy = generator.embed(maps)
    for raw, result in zip(maps, noisy, strict=True):
        clean = raw / raw.square().mean((1, 2, 3), keepdim=True).sqrt()
        torch.testing.assert_close(clean.square().mean((1, 2, 3)), torch.ones(2))
        noise = (result - clean).double() / 0.3
        count = noise.numel()
        assert abs(noise.mean()) < 5 / count**0.5
        assert abs(noise.var() - 1) < 5 * (2 / count) ** 0.5
        assert abs(noise.pow(4).mean() - 3) < 5 * (96 / count) ** 0.5


def test_noise_comes_from_the_default_generator_and_only_while_training():
    generator, maps = small_generator().train(), maps_of(64, 64)
    pictures = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        pictures.append(generator(maps, (64, 64)))
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])

    for quiet in (generator.eval(), small_generator(noise_std=0.0).train()):
        state = torch.get_rng_state()
        assert torch.equal(quiet(maps, (64, 64)), quiet(maps, (64, 64)))
        assert torch.equal(torch.get_rng_state(), state)


def test_scale_of_the_features_does_not_matter():
    torch.manual_seed(0)
    generator, maps = small_generator().eval(), maps_of(64, 64)
    scaled = [m * scale for m, scale in zip(maps, (1e-3, 10.0, 1e4), strict=True)]
    torch.testing.assert_close(generator(scaled, (64, 64)), generator(maps, (64, 64)))


def test_samples_do_not_mix():
    torch.manual_seed(0)
    generator, maps = small_generator().double().eval(), maps_of(50, 70, batch=3, dtype=torch.float64)
    together = generator(maps, (50, 70))
    alone = torch.cat([generator([m[i : i + 1] for m in maps], (50, 70)) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_dead_and_half_precision_maps_stay_finite():
    torch.manual_seed(0)
    generator = small_generator().train()
    maps = [m.requires_grad_() for m in maps_of(64, 64)]
    maps[1] = torch.zeros_like(maps[1], requires_grad=True)
    generator(maps, (64, 64)).sum().backward()
    assert all(m.grad.isfinite().all() for m in maps)
    # The squares of these overflow half precision.
    halves = generator.eval().embed([(1e4 * m.detach()).half() for m in maps])
    assert halves[0].square().mean().item() == pytest.approx(1, rel=0.01)
    assert halves[0].dtype == torch.float16


def test_no_convolution_has_a_bias_in_front_of_a_norm():
    generator = small_generator()
    biased = {name for name, m in generator.named_modules() if isinstance(m, nn.Conv2d) and m.bias is not None}
    assert biased == {'laterals.0.conv', 'laterals.1.conv', 'laterals.2.conv', 'to_picture'}
    normed = [m for m in (*generator.fusions, *generator.upsamplings) if isinstance(m.norm, nn.InstanceNorm2d)]
    assert len(normed) == 5
    without = small_generator(norm_cfg=None)
    assert all(m.bias is not None for m in without.modules() if isinstance(m, nn.Conv2d))


def test_recomputing_steps_changes_no_bit():
    results = []
    for with_cp in (False, True):
        torch.manual_seed(3)
        generator = small_generator(with_cp=with_cp, dropout=0.5).train()
        maps = [m.requires_grad_() for m in maps_of(45, 70)]
        picture = generator(maps, (45, 70))
        torch.rand(7)
        picture.square().sum().backward()
        results.append([picture, *(m.grad for m in maps), *(p.grad for p in generator.parameters()), torch.rand(3)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_recomputing_steps_keeps_less_for_the_backward_pass():
    def kept_bytes(with_cp):
        storages = {}
        generator = small_generator(with_cp=with_cp)

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        maps = maps_of(128, 128)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            picture = generator(maps, (128, 128))
        return sum(storages.values()), picture

    assert kept_bytes(True)[0] < 0.6 * kept_bytes(False)[0]


def test_dropout_follows_each_fusion_in_training_only():
    torch.manual_seed(0)
    generator = small_generator(dropout=0.25, norm_cfg=None)
    for block in generator.fusions:
        nn.init.zeros_(block.conv.weight)
        nn.init.ones_(block.conv.bias)
    dropped = []
    generator.dropout.register_forward_hook(
        lambda module, inputs, output: dropped.append((tuple(output.shape[1:]), (output == 0).double().mean().item()))
    )
    generator.train()(maps_of(512, 512), (512, 512))
    assert [shape for shape, _ in dropped] == [(64, 32, 32), (32, 64, 64)]
    assert all(share == pytest.approx(0.25, abs=0.01) for _, share in dropped)
    generator.eval()(maps_of(512, 512), (512, 512))
    assert [share for _, share in dropped[2:]] == [0, 0]


def test_default_generator_costs_what_its_docstring_says():
    def count(function):
        with FlopCounterMode(display=False) as counter:
            result = function()
        return counter.get_total_flops(), result

    with torch.device('meta'):
        image, backbone, head = torch.empty(1, 3, 512, 1024), VGG(), FCN8sHead(num_classes=19)
        generator = ImageGenerator(in_channels=[256, 512, 4096], in_index=[0, 1, 2])
        backbone_flops, maps = count(lambda: backbone(image))
        head_flops, _ = count(lambda: head(maps))
        generator_flops, picture = count(lambda: generator(maps, (512, 1024)))
    assert picture.shape == image.shape
    assert round((backbone_flops + head_flops) / 1e9) == 443
    assert round(generator_flops / 1e9) == 33
    assert round(sum(p.numel() for p in generator.parameters()) / 1e6, 1) == 4.6


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(in_index=[0, 1]), 'must name the same'),
        (dict(in_channels=[], in_index=[]), 'at least one map'),
        (dict(num_upsamplings=0), 'num_upsamplings=0'),
        (dict(noise_std=-0.1), 'noise_std=-0.1'),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageGenerator(**dict(dict(in_channels=[6, 7, 8], in_index=[0, 1, 2]), **arguments))


@pytest.mark.parametrize('maps', [maps_of(64, 64)[:2], maps_of(64, 64, channels=(6, 9, 8))])
def test_maps_of_another_backbone_are_refused(maps):
    with pytest.raises(ValueError, match=r'in_channels=\(6, 7, 8\).*but the backbone gives'):
        small_generator()(maps, (64, 64))
