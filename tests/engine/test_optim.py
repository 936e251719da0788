"""One optimizer per player, in full and in mixed precision."""

import copy
import math
import re

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from cda_mmseg.engine import AutocastOptimWrapper
from cda_mmseg.engine.optim import NoUpdateError, PlayerOptimWrapperDict, _state_shapes
from cda_mmseg.utils.loading import UnresumableCheckpointError
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


@pytest.mark.parametrize(
    ('loss_scale', 'scales'),
    [(8.0, [8, 8, 8]), (dict(init_scale=4.0, growth_interval=1), [8, 16, 8]), ('dynamic', [2**16, 2**16, 2**15])],
)
def test_the_loss_scale_is_the_one_asked_for(loss_scale, scales):
    model = network()
    wrapper = wrapped(model, dtype='float16', loss_scale=loss_scale)
    for scale, factor in zip(scales, (1, 1, float('inf')), strict=True):
        wrapper.update_params(model(torch.ones(1, 4)).sum() * factor)
        assert wrapper.scaler.get_scale() == scale


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(loss_scale=512.0), 'loss_scale=512.0 is for float16: bfloat16 scales no loss'),
        (dict(dtype='float16', loss_scale='static'), "must be a number, 'dynamic' or a dict, got 'static'"),
    ],
)
def test_a_loss_scale_without_a_meaning_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        wrapped(network(), **settings)


def test_a_float16_step_with_infinite_gradients_is_left_out():
    model = network()
    wrapper = wrapped(model, dtype='float16')
    before, scale = copy.deepcopy(model.state_dict()), wrapper.scaler.get_scale()
    loss = model(torch.ones(1, 4)).sum() * float('inf')
    wrapper.update_params(loss)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert wrapper.scaler.get_scale() < scale


@pytest.fixture
def warnings_logged(caplog):
    """MMEngine's loggers do not hand on to the root logger."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def update(wrapper: AutocastOptimWrapper, model: nn.Module, factor: float = 1.0) -> None:
    wrapper.update_params(model(torch.ones(1, 4)).sum() * factor)


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=1.0)])
def test_updates_that_float16_leaves_out_are_counted_and_logged(fused, clip_grad, warnings_logged):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=fused)
    players = PlayerOptimWrapperDict(critic=AutocastOptimWrapper(optimizer, dtype='float16', clip_grad=clip_grad))
    for index in range(60):
        update(players['critic'], model, math.inf if index in (3, 4, 55) else 1.0)
    assert [message for message in warnings_logged.messages if 'left out' in message] == [
        'float16: 2 of the last 50 updates of the critic were left out, as their gradients were not finite (2 of 50 '
        'in all). The loss scale is now 16384.'
    ]
    assert int(optimizer.state[model[0].weight]['step']) == 57
    resumed = PlayerOptimWrapperDict(critic=wrapped(network(), dtype='float16'))
    resumed.load_state_dict(copy.deepcopy(players.state_dict()))
    resumed.report_left_out_updates()
    assert len(warnings_logged.messages) == 1
    players.report_left_out_updates()
    assert '1 of the last 10 updates of the critic were left out' in warnings_logged.messages[-1]
    assert '(3 of 60 in all)' in warnings_logged.messages[-1]
    assert resumed['critic'].state_dict()['update_counts'] == dict(due=60, left_out=3)


def test_fifty_updates_in_a_row_that_are_left_out_are_an_error():
    model = network()
    players = PlayerOptimWrapperDict(critic=wrapped(model, dtype='float16'))
    with pytest.raises(NoUpdateError, match=r'None of the last 50 updates of the critic .*5\.8\d*e-11.*bfloat16'):
        for _ in range(60):
            update(players['critic'], model, math.nan)
    assert players['critic'].scaler.get_scale() == 2.0**-34


def test_a_short_run_without_any_update_is_an_error():
    model = network()
    players = PlayerOptimWrapperDict(critic=wrapped(model, dtype='float16'))
    players.report_left_out_updates()
    for _ in range(4):
        update(players['critic'], model, math.inf)
    with pytest.raises(NoUpdateError, match='None of the last 4 updates of the critic'):
        players.report_left_out_updates()


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


@pytest.mark.skipif(torch.cuda.is_available(), reason='there MMEngine builds it')
def test_mmsegs_switch_of_mixed_precision_reaches_plain_players():
    """Its train.py --amp changes the type at the top; MMEngine's wrapper asks for a GPU."""
    switched = dict(type='AmpOptimWrapper', loss_scale='dynamic')
    config = {**optimizer_config('Adam'), **switched}
    with pytest.raises(AssertionError, match=r'AmpOptimizerWrapper.*only available'):
        build_optim_wrapper(build(model_config()), config)
    for player in ('encoder', 'generator', 'discriminator'):
        config[player] = dict(config[player], type='AutocastOptimWrapper')
    wrappers = build_optim_wrapper(build(model_config()), config)
    assert all(isinstance(wrapper, AutocastOptimWrapper) for wrapper in wrappers.values())
    with pytest.raises(ValueError, match=r'give each player a type of its own'):
        build_optim_wrapper(build(model_config()), {**optimizer_config('Adam'), 'type': 'AutocastOptimWrapper'})


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


def test_settings_without_effect_are_named(warnings_logged):
    model = build(model_config())
    config = optimizer_config('SGD')
    custom = {name: dict(lr_mult=2.0) for name in ('decode_hed', 'neck', 'backbone')}
    build_optim_wrapper(model, config | {'encoder': {**config['encoder'], 'paramwise_cfg': dict(custom_keys=custom)}})
    assert [record.getMessage() for record in warnings_logged.records if record.levelname == 'WARNING'] == [
        "optim_wrapper.encoder.paramwise_cfg.custom_keys: no parameter has 'decode_hed' in its name. Did you mean "
        "'decode_head'?"
    ]
    config['encoder'] = {**config['encoder'], 'clip_grad': dict(max_norm=0)}
    with pytest.raises(ValueError, match=r'optim_wrapper\.encoder\.clip_grad\.max_norm must be positive'):
        build_optim_wrapper(model, config)


def test_clipping_is_each_players_own():
    """A tiny bound on E's gradient norm keeps E's weights, and no other player's, where they are."""
    model = build(model_config())
    config = optimizer_config('SGD')
    config['encoder'] = {**config['encoder'], 'clip_grad': dict(max_norm=1e-9)}
    before = copy.deepcopy(model)
    model.train_step(make_data(0), build_optim_wrapper(model, config))
    moved = {
        player: max(
            (value - former).abs().max().item()
            for value, former in zip(model.player(player).parameters(), before.player(player).parameters(), strict=True)
        )
        for player in ('encoder', 'discriminator')
    }
    assert moved['encoder'] < 1e-9 < 1e-7 < moved['discriminator']


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


OPTIMIZERS = [
    ('Adam', dict(fused=True)),
    ('Adam', dict(amsgrad=True)),
    ('AdamW', {}),
    ('SGD', {}),
    ('SGD', dict(momentum=0.9)),
    ('RMSprop', dict(momentum=0.9, centered=True)),
    ('Adagrad', {}),
    ('Adadelta', {}),
    ('NAdam', {}),
    ('ASGD', {}),
    ('Adafactor', {}),
]


@pytest.mark.parametrize(('name', 'settings'), OPTIMIZERS)
def test_expected_shapes_are_those_that_the_optimizer_makes(name, settings):
    model = network()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=1e-2, **settings)
    known = len(optimizer.state)
    expected = [_state_shapes(optimizer, optimizer.param_groups[0], parameter) for parameter in model.parameters()]
    assert len(optimizer.state) == known
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    made = [
        {
            key: tuple(value.shape)
            for key, value in optimizer.state[parameter].items()
            if isinstance(value, torch.Tensor)
        }
        for parameter in model.parameters()
    ]
    assert expected == made


def trained(**changes) -> tuple[nn.Module, PlayerOptimWrapperDict]:
    model = build(model_config(**changes))
    config = optimizer_config('Adam')
    for player in ('encoder', 'generator', 'discriminator'):
        config[player] = {**config[player], 'optimizer': dict(type='Adam', lr=1e-3, fused=True)}
    wrappers = build_optim_wrapper(model, config)
    model.train_step(make_data(0), wrappers)
    return model, wrappers


@pytest.mark.parametrize('shape', [(1,), (), (0,), (10**5,), (4, 3, 3)])
@pytest.mark.parametrize('key', ['step', 'exp_avg', 'exp_avg_sq'])
def test_a_state_of_another_shape_is_refused(key, shape):
    _, wrappers = trained()
    state = copy.deepcopy(wrappers.state_dict())
    before = copy.deepcopy(state)
    if key == 'step' and shape == ():
        shape = (2,)
    state['encoder']['state'][2][key] = torch.full(shape, 0.5)
    message = (
        rf'optimizer of the encoder cannot be resumed: {key} of its parameter \S+weight is {re.escape(str(shape))}'
    )
    with pytest.raises(UnresumableCheckpointError, match=message):
        wrappers.load_state_dict(state)
    wrappers.load_state_dict(before)


@pytest.mark.parametrize('width', [2, 8])
def test_the_state_of_another_generator_is_refused(width):
    """Fused Adam on the CPU would write beyond the end of a smaller one, and read half of a larger one."""
    _, saved = trained()
    _, wrappers = trained(generator=dict(type='ImageGenerator', base_channels=width, max_channels=4 * width))
    with pytest.raises(UnresumableCheckpointError, match=r'optimizer of the generator .* exp_avg of its parameter \S+'):
        wrappers.load_state_dict(saved.state_dict())


def test_states_that_are_not_of_these_players_are_refused():
    _, wrappers = trained()
    state = wrappers.state_dict()
    with pytest.raises(UnresumableCheckpointError, match=r"\['encoder', 'generator'\], but this run trains \['disc"):
        wrappers.load_state_dict({name: state[name] for name in ('encoder', 'generator')})
    with pytest.raises(UnresumableCheckpointError, match=r'optimizer of the encoder .*exp_avg of its .* is missing'):
        del state['encoder']['state'][0]['exp_avg']
        wrappers.load_state_dict(state)
    with pytest.raises(UnresumableCheckpointError, match=r'optimizer of the encoder .*in 1 groups .*but here has'):
        state['encoder']['param_groups'][0]['params'] = [0]
        wrappers.load_state_dict(state)
