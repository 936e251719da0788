"""One optimizer per player, in full and in mixed precision."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from cda_mmseg.engine import AutocastOptimWrapper
from tests.models.segmentors.tiny_model import build, make_data, model_config, optimizer_config

init_default_scope('mmseg')


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def step(wrapper: AutocastOptimWrapper, model: nn.Module, inputs: torch.Tensor) -> None:
    with wrapper.optim_context(model):
        loss = model(inputs).square().mean()
    wrapper.update_params(loss)


def wrapped(model: nn.Module, **options) -> AutocastOptimWrapper:
    return AutocastOptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-2), **options)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_mixed_precision_equals_torchs_own_recipe(dtype):
    """Autocast, scaling, unscaling before clipping, stepping, as torch's documentation writes it down."""
    ours, theirs = network(), network()
    wrapper = wrapped(ours, dtype=dtype, clip_grad=dict(max_norm=0.1))
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler('cpu', enabled=dtype == 'float16')
    for inputs in torch.randn(5, 16, 4):
        step(wrapper, ours, inputs)
        with torch.autocast('cpu', getattr(torch, dtype)):
            loss = theirs(inputs).square().mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert not torch.equal(ours[0].weight, network()[0].weight)


def test_a_float16_step_with_infinite_gradients_is_left_out():
    model = network()
    wrapper = wrapped(model, dtype='float16')
    before, scale = copy.deepcopy(model.state_dict()), wrapper.scaler.get_scale()
    loss = model(torch.ones(1, 4)).sum() * float('inf')
    wrapper.update_params(loss)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert wrapper.scaler.get_scale() < scale


@pytest.mark.parametrize('later', ['float16', 'bfloat16'])
def test_state_goes_on_in_either_precision(later):
    model = network()
    wrapper = wrapped(model, dtype='float16')
    for inputs in torch.randn(3, 16, 4):
        step(wrapper, model, inputs)
    resumed = wrapped(model, dtype=later)
    resumed.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    steps = wrapper.optimizer.state_dict()['state'][0]['step']
    assert steps >= 1 and resumed.optimizer.state_dict()['state'][0]['step'] == steps
    if later == 'float16':
        assert resumed.scaler.state_dict() == wrapper.scaler.state_dict()


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="'half'"):
        wrapped(network(), dtype='half')


def test_paramwise_options_reach_a_players_parts():
    model = build(model_config())
    config = optimizer_config('Adam')
    config['encoder'] = {**config['encoder'], 'paramwise_cfg': dict(custom_keys=dict(decode_head=dict(lr_mult=10.0)))}
    groups = build_optim_wrapper(model, config)['encoder'].optimizer.param_groups
    heads = {id(parameter) for parameter in model.decode_head.parameters()}
    rates = {(id(parameter) in heads): group['lr'] for group in groups for parameter in group['params']}
    assert rates == {True: pytest.approx(1e-2), False: pytest.approx(1e-3)}
    with pytest.raises(ValueError, match=r'encoder\.paramwise_cfg'):
        build_optim_wrapper(model, {**config, 'paramwise_cfg': dict(bias_lr_mult=2)})


def test_clipping_is_each_players_own():
    """A tiny bound on E's gradient norm keeps E's weights, and no other player's, where they are."""
    model = build(model_config())
    config = optimizer_config('SGD')
    config['encoder'] = {**config['encoder'], 'clip_grad': dict(max_norm=1e-9)}
    before = copy.deepcopy(model)
    model.train_step(make_data(0), build_optim_wrapper(model, config))
    moved = {
        name.split('.')[0]: (value - dict(before.named_parameters())[name]).abs().max().item()
        for name, value in model.named_parameters()
        if name in ('backbone.features.0.weight', 'discriminator.networks.source.layers.0.conv.weight')
    }
    assert moved['backbone'] < 1e-9 < 1e-7 < moved['discriminator']


def test_the_last_partial_cycle_of_an_accumulation_is_applied():
    model = build(model_config())
    wrappers = build_optim_wrapper(model, optimizer_config('SGD', accumulation=2))
    wrappers.initialize_count_status(model, 0, 3)
    snapshots = []
    for iteration in range(3):
        model.train_step(make_data(iteration), wrappers)
        snapshots.append(model.backbone.features[0].weight.detach().clone())
    assert not torch.equal(snapshots[0], snapshots[1]) and not torch.equal(snapshots[1], snapshots[2])
    assert all(parameter.grad is None for parameter in model.parameters())
