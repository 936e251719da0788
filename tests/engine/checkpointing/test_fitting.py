"""Weights that fit only partly are never scored."""

from collections import OrderedDict

import pytest
import torch
from mmengine.registry import init_default_scope

from cda_mmseg import launch
from cda_mmseg.engine import UDARunner
from cda_mmseg.engine.checkpointing.fitting import check_fit, init_trained_model
from cda_mmseg.models.backbones.weight_files import read_weights
from cda_mmseg.utils.loading import load_checkpoint_file
from cda_mmseg.utils.loading.errors import NonFiniteStateError, UnreadableCheckpointError
from tests.models.segmentors.tiny_model import build, model_config


@pytest.fixture
def model():
    init_default_scope('mmseg')
    return build(model_config())


def weights_of(model) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_networks_own_weights_fit_also_without_players_unless_the_whole_is_wanted(model):
    weights = weights_of(model)
    assert check_fit(model, dict(state_dict=weights), 'x.pth', whole=True) == []
    network = {name: value for name, value in weights.items() if not name.startswith('adaptations.')}
    other = {**network, 'adaptations.image_adversary.generator.odd': torch.zeros(2)}
    for lacking in (network, other):
        assert check_fit(model, lacking, 'x.pth') == []
        with pytest.raises(UnreadableCheckpointError, match=r'adaptations\.image_adversary\.\S+ is missing') as caught:
            check_fit(model, lacking, 'x.pth', whole=True)
        assert 'fresh_parts' not in str(caught.value)


@pytest.mark.parametrize('times', [1, 2])
@pytest.mark.parametrize('inside', [True, False])
def test_the_prefix_of_a_wrapped_model_is_cut_off_on_every_way(tmp_path, times, inside):
    weights = {'module.' * times + name: value for name, value in weights_of(torch.nn.Linear(2, 3)).items()}
    torch.save(dict(state_dict=weights, meta=dict(iter=2)) if inside else weights, tmp_path / 'x.pth')
    read = load_checkpoint_file(str(tmp_path / 'x.pth'))
    assert list(read['state_dict'] if inside else read) == ['weight', 'bias']
    assert not inside or read['meta'] == dict(iter=2)
    assert list(read_weights(str(tmp_path / 'x.pth'))) == ['weight', 'bias']


@pytest.mark.parametrize('name', ['backbone.layer9.weight', 'neck.weight', 'decode_head.fusion.bias'])
def test_a_network_that_is_larger_in_the_file_is_an_error(model, name):
    """All weights of ResNet-50 have the names and shapes of some of ResNet-101's."""
    weights = weights_of(model) | {name: torch.zeros(2)}
    with pytest.raises(UnreadableCheckpointError, match=rf'only partly \(misfits: 1\): {name} is not in the network'):
        check_fit(model, weights, 'x.pth')
    assert check_fit(model, weights, 'x.pth', ['backbone', 'neck', 'decode_head']) == [f'{name} is not in the network']


def test_what_predicts_nothing_may_differ(model):
    weights = weights_of(model) | {'auxiliary_head.conv.weight': torch.zeros(2)}
    counters = torch.nn.Sequential(OrderedDict(backbone=torch.nn.BatchNorm2d(3), decode_head=torch.nn.Linear(2, 2)))
    counted = weights_of(counters)
    assert counted.pop('backbone.num_batches_tracked') == 0
    assert check_fit(model, weights, 'x.pth') == check_fit(counters, counted, 'x.pth') == []


@pytest.mark.parametrize('parts', ['decode_head', ['head'], ['decode_head', 'generator']], ids=str)
def test_fresh_parts_that_do_not_exist_are_an_error(model, parts):
    with pytest.raises(ValueError, match='fresh_parts must be a list of some of'):
        check_fit(model, weights_of(model), 'x.pth', parts)


@pytest.mark.parametrize('content', [{0: torch.zeros(2)}, dict(state_dict=[torch.zeros(2)])], ids=['numbers', 'list'])
def test_weights_without_names_are_an_error(model, content):
    with pytest.raises(UnreadableCheckpointError, match=r'x\.pth holds no weights by name'):
        check_fit(model, content, 'x.pth')


@pytest.mark.parametrize('part', ['backbone', 'decode_head'])
@pytest.mark.parametrize('how', ['missing', 'of another shape'])
def test_one_weight_that_does_not_fit_is_an_error(model, part, how):
    weights = weights_of(model)
    name = next(name for name in weights if name.startswith(f'{part}.'))
    if how == 'missing':
        del weights[name]
    else:
        weights[name] = torch.zeros(3, 1, 4)
    message = rf"x\.pth fits .* only partly \(misfits: 1\): {name}.*\['{part}'\]"
    with pytest.raises(UnreadableCheckpointError, match=message):
        check_fit(model, weights, 'x.pth')
    assert [name in line for line in check_fit(model, weights, 'x.pth', [part])] == [True]


@pytest.mark.parametrize('value', ['nan', 'inf'])
def test_a_weight_that_is_not_finite_is_an_error(model, value):
    weights = weights_of(model)
    name = next(name for name in weights if name.startswith('decode_head.'))
    weights[name].view(-1)[3] = float(value)
    with pytest.raises(NonFiniteStateError, match=rf'x\.pth .*not finite: 1 of \d+ tensors, as {name}'):
        check_fit(model, weights, 'x.pth')


def test_keys_under_a_prefix_of_their_own_fit_nothing(model):
    weights = {f'segmentor.{name}': value for name, value in weights_of(model).items()}
    with pytest.raises(UnreadableCheckpointError, match='None of the'):
        check_fit(model, weights, 'x.pth')


def stock_runner(config):
    config.pop('runner_type')
    return launch.build_runner(config)


@pytest.fixture
def smoke(smoke_config, tmp_path):
    config = smoke_config('source_only_gta2city')
    config.work_dir = str(tmp_path / 'run')
    config.train_cfg.update(max_iters=1, val_interval=1)
    runner = UDARunner.from_cfg(config)
    runner.train()
    state = torch.load(tmp_path / 'run' / 'iter_1.pth', weights_only=False)
    headless = {name: value for name, value in state['state_dict'].items() if not name.startswith('decode_head.')}
    torch.save({**state, 'state_dict': headless}, tmp_path / 'headless.pth')
    return config, tmp_path


def test_a_file_without_the_head_is_neither_scored_nor_shown_nor_trained_on_unasked(smoke):
    config, folder = smoke
    config.load_from, config.experiment_name = str(folder / 'headless.pth'), 'headless'
    with pytest.raises(UnreadableCheckpointError, match='decode_head'):
        UDARunner.from_cfg(config).test()
    with pytest.raises(UnreadableCheckpointError, match='decode_head'):
        init_trained_model(config, config.load_from)
    config.experiment_name = 'train'
    with pytest.raises(UnreadableCheckpointError, match=r"fresh_parts=\['decode_head'\]"):
        UDARunner.from_cfg(config).train()
    config.experiment_name, config.fresh_parts = 'asked', ['decode_head']
    config.work_dir = str(folder / 'asked')
    UDARunner.from_cfg(config).train()
    log = next((folder / 'asked').glob('*/*.log')).read_text()
    assert 'weights begin fresh' in log and 'decode_head.skip_scores.0.weight is missing' in log


def test_it_does_not_take_our_checkpoint_hook(smoke):
    config, folder = smoke
    config.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False)
    config.custom_hooks = []
    for make in (UDARunner.from_cfg, launch.build_runner, stock_runner):
        config.load_from, config.experiment_name = str(folder / 'headless.pth'), f'stock_{make.__name__}'
        with pytest.raises(UnreadableCheckpointError, match='decode_head'):
            make(config).test()


def test_players_may_be_absent_where_they_are_not_needed(smoke_config, tmp_path):
    config = smoke_config('cl_gta2city')
    config.work_dir = str(tmp_path / 'run')
    config.train_cfg.update(max_iters=2, val_interval=1)
    config.default_hooks.checkpoint.interval = 1
    UDARunner.from_cfg(config).train()
    state = torch.load(tmp_path / 'run' / 'iter_1.pth', weights_only=False)
    lost = next(name for name in state['state_dict'] if '.generator.' in name)
    del state['state_dict'][lost]
    torch.save(state, tmp_path / 'lacking.pth')

    config.load_from, config.experiment_name = str(tmp_path / 'lacking.pth'), 'scored'
    assert UDARunner.from_cfg(config).test()['target/mIoU'] >= 0
    init_trained_model(config, config.load_from)
    with pytest.raises(UnreadableCheckpointError, match=f'{lost} is missing'):
        init_trained_model(config, config.load_from, whole=True)
    config.resume, config.experiment_name = True, 'resumed'
    with pytest.raises(UnreadableCheckpointError, match=f'{lost} is missing'):
        UDARunner.from_cfg(config).train()


def test_a_config_of_another_depth_scores_nothing(smoke):
    config, folder = smoke
    config.load_from, config.experiment_name = str(folder / 'run' / 'iter_1.pth'), 'depth'
    config.model.backbone.depth = 11
    with pytest.raises(UnreadableCheckpointError, match='only partly'):
        UDARunner.from_cfg(config).test()
