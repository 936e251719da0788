"""Ways to compute a step: faster or smaller, but the same step."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from benchmarks.measuring import peak_memory
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.segmentors.tiny_model import SEED, build, double_precision, make_data, model_config, optimizer_config
from tests.models.segmentors.trained import cross_entropy, differences, train_naively, train_ours

init_default_scope('mmseg')


def without_chance(**changes) -> dict:
    """A model whose result does not depend on the order in which masks and noise are drawn."""
    config = model_config(**changes)
    config['backbone'] = {**config['backbone'], 'dropout': 0.0}
    config['generator'] = {**config['generator'], 'dropout': 0.0, 'noise_std': 0.0}
    return config


def in_float64(config: dict, monkeypatch) -> nn.Module:
    model = build(config, torch.float64)
    monkeypatch.setattr(model.data_preprocessor, 'forward', double_precision(model.data_preprocessor.forward))
    return model


def train_fused(model: nn.Module, iterations: int, first: int = 0, state: dict | None = None) -> dict:
    """Train with PyTorch's fused Adam; return the optimizers' state."""
    config = optimizer_config('Adam')
    for player in ('encoder', 'generator', 'discriminator'):
        config[player] = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3, fused=True))
    optimizers = build_optim_wrapper(model, config)
    if state is not None:
        optimizers.load_state_dict(copy.deepcopy(state))
    for iteration in range(first, first + iterations):
        model.set_progress(TrainingProgress(iteration, 10, SEED, 0))
        model.train_step(make_data(iteration), optimizers)
    return optimizers.state_dict()


@pytest.mark.parametrize('kind', ['SGD', 'Adam'])
@pytest.mark.parametrize(
    'execution',
    [dict(batch_domains=True), dict(channels_last=True), dict(batch_domains=True, channels_last=True, memory='low')],
    ids=['batch_domains', 'channels_last', 'all'],
)
@pytest.mark.parametrize('sharings', [('shared', 'per_domain'), ('per_domain', 'shared')], ids='-'.join)
def test_other_orders_of_summing_give_the_naive_step(kind, execution, sharings, monkeypatch):
    generators, discriminators = sharings
    sharing = dict(generator_sharing=generators, discriminator_sharing=discriminators)
    ours = in_float64(without_chance(execution=execution, **sharing), monkeypatch)
    naive = build(without_chance(**sharing), torch.float64)
    before = copy.deepcopy(ours)
    train_ours(ours, kind, 3, batch_size=2)
    train_naively(naive, kind, 3, batch_size=2)
    assert len(differences(before, ours)) == len(list(ours.parameters()))
    assert max(differences(ours, naive).values(), default=0) < 1e-10


def test_both_domains_in_one_batch_while_gradients_accumulate(monkeypatch):
    ours = in_float64(without_chance(execution=dict(batch_domains=True)), monkeypatch)
    naive = build(without_chance(), torch.float64)
    train_ours(ours, 'Adam', 4, accumulation=2)
    train_naively(naive, 'Adam', 4, accumulation=2, segmentation_loss=cross_entropy)
    assert max(differences(ours, naive).values(), default=0) < 1e-10


def test_fused_optimizers_equal_the_stock_ones(monkeypatch):
    fused, stock = in_float64(model_config(), monkeypatch), in_float64(model_config(), monkeypatch)
    train_fused(fused, 3)
    train_ours(stock, 'Adam', 3)
    assert 0 < max(differences(fused, stock).values()) < 1e-10


def test_low_memory_changes_no_bit_with_dropout_and_noise_on():
    default, low = build(model_config()), build(model_config(execution=dict(memory='low')))
    train_ours(default, 'Adam', 3)
    train_ours(low, 'Adam', 3)
    assert differences(default, low) == {}


def test_low_memory_needs_less():
    peaks = {}
    for memory in ('default', 'low'):
        config = model_config(execution=dict(memory=memory))
        model = build(config)
        optimizers = build_optim_wrapper(model, optimizer_config('SGD'))
        data = make_data(0, batch_size=8)
        peaks[memory] = peak_memory(lambda model=model, data=data, to=optimizers: model.train_step(data, to), 'cpu')
    assert peaks['low'] < 0.8 * peaks['default'], peaks


def test_a_resumed_fused_optimizer_reads_its_state_in_the_weights_layout(monkeypatch):
    """A run with the channels last goes on without, and the other way round."""
    layouts = {}
    for saved, resumed in ((True, False), (False, True), (False, False)):
        config = without_chance(execution=dict(channels_last=saved))
        model = in_float64(config, monkeypatch)
        state = train_fused(model, 2)
        other = in_float64(without_chance(execution=dict(channels_last=resumed)), monkeypatch)
        other.load_state_dict(model.state_dict())
        train_fused(other, 2, first=2, state=state)
        layouts[saved, resumed] = other
    assert layouts[False, True].backbone.features[3].weight.is_contiguous(memory_format=torch.channels_last)
    for other in ((True, False), (False, True)):
        assert max(differences(layouts[other], layouts[False, False]).values(), default=0) < 1e-10


def test_a_resumed_optimizer_runs_the_kernels_that_the_config_asks_for():
    """PyTorch itself takes them from the checkpoint."""
    model = build(model_config())
    stock, fused = optimizer_config('Adam'), optimizer_config('Adam')
    for player in ('encoder', 'generator', 'discriminator'):
        fused[player] = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3, fused=True))
    optimizers = {name: build_optim_wrapper(model, config) for name, config in (('stock', stock), ('fused', fused))}
    for saved, resumed in (('stock', 'fused'), ('fused', 'stock')):
        model.train_step(make_data(0), optimizers[saved])
        state = copy.deepcopy(optimizers[saved].state_dict())
        state['encoder']['param_groups'][0]['lr'] = 0.25
        optimizers[resumed].load_state_dict(state)
        group = optimizers[resumed]['encoder'].optimizer.param_groups[0]
        assert group['fused'] is (True if resumed == 'fused' else None)
        assert group['lr'] == 0.25
        model.train_step(make_data(1), optimizers[resumed])


def test_batch_norm_that_learns_is_refused():
    config = model_config(execution=dict(batch_domains=True))
    config['backbone'] = {**config['backbone'], 'norm_cfg': dict(type='BN')}
    model = build(config)
    with pytest.raises(ValueError, match=r'batch_domains=True, but backbone\.features\.1 learns statistics'):
        model.train_step(make_data(0), build_optim_wrapper(model, optimizer_config('SGD')))


def test_batch_norm_that_learns_is_taken_where_there_is_nothing_to_join():
    """The shipped configs join the domains, also where the source alone is encoded."""
    config = {key: value for key, value in model_config().items() if key in ('data_preprocessor', 'decode_head')}
    config |= dict(type='UDASegmentor', execution=dict(batch_domains=True))
    config['backbone'] = {**model_config()['backbone'], 'norm_cfg': dict(type='BN')}
    for adaptations in ({}, dict(self_training=dict(type='SelfTraining'))):
        model = build({**config, 'adaptations': adaptations})
        optimizers = {key: optimizer_config('SGD')[key] for key in ('constructor', 'encoder')}
        model.train_step(make_data(0, batch_size=2), build_optim_wrapper(model, optimizers))


def test_batch_norm_that_stays_as_it_is_is_taken():
    config = model_config(execution=dict(batch_domains=True, memory='low'))
    config['backbone'] = {**config['backbone'], 'norm_cfg': dict(type='BN'), 'norm_eval': True}
    model = build(config)
    model.train_step(make_data(0), build_optim_wrapper(model, optimizer_config('SGD')))


def test_images_of_two_sizes_are_refused():
    model = build(model_config(execution=dict(batch_domains=True)))
    data = make_data(0)
    data['target']['inputs'] = [image[:, :, :40] for image in data['target']['inputs']]
    data['target']['data_samples'][0].set_metainfo(dict(img_shape=(32, 40)))
    model.data_preprocessor.size, model.data_preprocessor.size_divisor = None, 8
    with pytest.raises(ValueError, match=r"'target': \(32, 40\)"):
        model.train_step(data, build_optim_wrapper(model, optimizer_config('SGD')))


@pytest.mark.parametrize(
    'execution, message',
    [
        (dict(memory='lower'), r"execution\.memory must be one of \('default', 'low'\), got 'lower'"),
        (dict(batch_domains='yes'), r"execution\.batch_domains must be True or False, got 'yes'"),
        (dict(batched=True), r"execution has no \['batched'\], only"),
    ],
)
def test_bad_choices_are_named(execution, message):
    with pytest.raises(ValueError, match=message):
        build(model_config(execution=execution))


def test_a_backbone_that_cannot_do_with_less_memory_is_named():
    with pytest.raises(ValueError, match='the backbone NoCheckpoints has no with_cp'):
        build(model_config(execution=dict(memory='low'), backbone=dict(type=NoCheckpoints, base_channels=4)))


def test_a_backbone_that_passes_its_arguments_on_does_with_less_memory():
    config = model_config(execution=dict(memory='low'))
    config['backbone'] = dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, out_indices=(1, 2, 3))
    config['backbone'] |= dict(norm_cfg=dict(type='GN', num_groups=2))
    config['decode_head']['in_channels'] = [16, 32, 64]
    model = build(config)
    assert all(block.with_cp for block in model.backbone.layer1)
    model.train_step(make_data(0), build_optim_wrapper(model, optimizer_config('SGD')))


class NoCheckpoints(nn.Module):
    """A backbone without with_cp."""

    def __init__(self, base_channels: int) -> None:
        super().__init__()


@pytest.mark.campaign
@pytest.mark.parametrize(
    'generators, discriminators, accumulation', [('shared', 'per_domain', 1), ('per_domain', 'shared', 2)]
)
def test_compiled_players_train_alike_and_predict_uncompiled(generators, discriminators, accumulation):
    """Dropout and noise off; in float32 within 1e-5 of the eager step."""
    sharing = dict(generator_sharing=generators, discriminator_sharing=discriminators)
    eager = build(without_chance(**sharing))
    compiled = build(without_chance(execution=dict(compile=True), **sharing))
    before = copy.deepcopy(eager)
    train_ours(eager, 'SGD', 2, accumulation=accumulation)
    torch._dynamo.utils.counters.clear()
    train_ours(compiled, 'SGD', 2, accumulation=accumulation)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] >= 4
    apart = differences(eager, compiled)
    assert max(apart.values(), default=0) < 1e-5
    assert min(differences(before, compiled).values()) > 0
    graphs = torch._dynamo.utils.counters['stats']['unique_graphs']
    images = torch.rand(1, 3, 40, 56)
    metas = [dict(img_shape=(40, 56))]
    assert torch.allclose(
        compiled.eval().encode_decode(images, metas), eager.eval().encode_decode(images, metas), atol=1e-3
    )
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == graphs


@pytest.mark.parametrize('accumulation', [1, 2])
@pytest.mark.parametrize('sharings', [('shared', 'per_domain'), ('per_domain', 'shared')], ids='-'.join)
def test_mixed_precision_gives_the_naive_step_in_mixed_precision(sharings, accumulation):
    """The naive step casts each weight each time, so that no update sees another player as it was before.

    The losses are computed in float32 by ours and in bfloat16 by the naive step: within 5 % of what training moved.
    """
    generators, discriminators = sharings
    sharing = dict(generator_sharing=generators, discriminator_sharing=discriminators)
    ours, naive = build(without_chance(**sharing)), build(without_chance(**sharing))
    before = copy.deepcopy(ours)
    config = optimizer_config('SGD', accumulation)
    for player in ('encoder', 'generator', 'discriminator'):
        config[player] = {**config[player], 'type': 'AutocastOptimWrapper', 'dtype': 'bfloat16'}
    optimizers = build_optim_wrapper(ours, config)
    optimizers.initialize_count_status(ours, 0, 4)
    for iteration in range(4):
        ours.set_progress(TrainingProgress(iteration, 4, SEED, 0))
        ours.train_step(make_data(iteration), optimizers)
    with torch.autocast('cpu', torch.bfloat16, cache_enabled=False):
        train_naively(naive, 'SGD', 4, accumulation=accumulation)
    for player in ('backbone', 'decode_head', 'generator', 'discriminator'):
        first, last, theirs = (
            nn.utils.parameters_to_vector(getattr(model, player).parameters()) for model in (before, ours, naive)
        )
        assert (last - theirs).norm() < 0.05 * (theirs - first).norm(), player
