import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.large_kernel import rows
from cda_mmseg.models.backbones import VGG, large_kernel_conv
from cda_mmseg.models.backbones.large_kernel_conv import LargeKernelConv2d, convolve_gathered


@pytest.mark.parametrize('size', [3, 5, 7])
@pytest.mark.parametrize('shape', [(1, 4, 8), (3, 1, 1), (2, 9, 2)])
@pytest.mark.parametrize('biased', [True, False])
def test_gathering_convolves_forward_and_backward(size, shape, biased):
    torch.manual_seed(0)
    n, h, w = shape
    x = torch.randn(n, 5, h, w, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 5, size, size, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True) if biased else None
    parameters = [x, weight, *([bias] if biased else [])]
    results = []
    for convolved in (convolve_gathered(x, weight, bias), F.conv2d(x, weight, bias, padding=size // 2)):
        assert convolved.is_contiguous()
        results.append([convolved, *torch.autograd.grad(convolved.square().sum(), parameters)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_only_small_maps_on_a_cpu_that_needs_it_are_gathered(monkeypatch):
    layer = LargeKernelConv2d(2, 3, 7)
    small, large = torch.randn(1, 2, 16, 16), torch.randn(1, 2, 16, 17)
    for gathers in (True, False):
        monkeypatch.setattr(large_kernel_conv, 'GATHERS', gathers)
        convolves = [layer(x).grad_fn.name() == 'ConvolutionBackward0' for x in (small, large)]
        assert convolves == [not gathers, True]


def test_a_traced_network_is_the_same_on_every_cpu(monkeypatch):
    """mmseg's get_flops traces it, and shapes are tensors then."""
    monkeypatch.setattr(large_kernel_conv, 'GATHERS', True)
    traced = torch.jit.trace(LargeKernelConv2d(2, 3, 7), torch.randn(1, 2, 4, 8))
    assert 'aten::_convolution' in str(traced.graph) and 'aten::im2col' not in str(traced.graph)


@pytest.mark.skipif(platform.machine() not in ('x86_64', 'AMD64'), reason='the capabilities of x86')
@pytest.mark.parametrize(('capability', 'gathers'), [('avx2', True), ('default', False)])
def test_the_capability_decides(capability, gathers):
    code = f'import runpy; print(runpy.run_path({large_kernel_conv.__file__!r})["GATHERS"])'
    environment = {**os.environ, 'ATEN_CPU_CAPABILITY': capability}
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(gathers)


def test_vgg_is_the_same_network_either_way(monkeypatch):
    """Names, initial weights and, in float64, maps and gradients; fc6 alone has a large kernel."""
    results = []
    for gathers in (True, False):
        monkeypatch.setattr(large_kernel_conv, 'GATHERS', gathers)
        torch.manual_seed(0)
        vgg = VGG(depth=11, base_channels=4, fc_channels=16, dropout=0.0)
        vgg.init_weights()
        vgg.double()
        assert [name for name, layer in vgg.named_modules() if isinstance(layer, LargeKernelConv2d)] == ['fc.fc6']
        assert type(vgg.fc.fc7) is nn.Conv2d
        maps = vgg(torch.randn(2, 3, 70, 130, dtype=torch.float64))
        gradients = torch.autograd.grad(maps[-1].square().sum(), vgg.parameters())
        results.append([*vgg.state_dict().values(), *maps, *gradients])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_benchmark_has_both_paths():
    [forward, both] = rows(repeats=1, widths=[8], maps=[(2, 3)])
    assert (forward['name'], both['against']) == ('fc6 gathered, 512 → 8 on 2×3: forward', 'F.conv2d')
    assert forward['ratio'] > 0 and both['ratio'] > 0
