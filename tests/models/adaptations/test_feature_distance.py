"""Feature distance against a plain PyTorch step and NumPy."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from benchmarks.naive_methods import PlainFeatureDistance
from tests.models.adaptations import plain_step
from tests.models.adaptations.plain_step import config, train, train_plainly
from tests.models.segmentors.tiny_model import build, make_data
from tests.models.segmentors.trained import differences

init_default_scope('mmseg')
SETTINGS = dict(type='FeatureDistance', weight=0.1, classes=(0, 3), min_share=0.75)


def data_with_regions(iteration: int, batch_size: int = 1) -> dict:
    """Give the pictures labels of whole regions, whose borders run through cells of the map; some unlabelled."""
    data = make_data(iteration, batch_size)
    for number, sample in enumerate(data['source']['data_samples']):
        labels = torch.full((1, 32, 48), 1)
        labels[:, :, : 10 + 4 * (iteration + number)], labels[:, :, 40:] = 3, 255
        sample.gt_sem_seg.data = labels
    return data


@pytest.fixture(autouse=True)
def regions(monkeypatch):
    monkeypatch.setattr(plain_step, 'make_data', data_with_regions)


def settings(**changes) -> dict:
    """A network of stride 8, whose last map has 4x6 cells."""
    result = config(one={**SETTINGS, **changes})
    result['backbone'] = dict(type='VGG', depth=11, base_channels=4, out_indices=(0, 1, 2))
    result['decode_head'] |= dict(in_channels=[4, 8, 16])
    return result


def ready(dtype=torch.float32, **changes):
    model = build(settings(**changes), dtype)
    model.adaptations['one'].study({})
    return model


def naive(**changes):
    model = build(settings())
    torch.manual_seed(0)
    initial = MODELS.build(settings()['backbone'])
    for module in initial.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, a=0, mode='fan_in', nonlinearity='relu')
            torch.nn.init.zeros_(module.bias)
    return model, PlainFeatureDistance(model, initial, **changes)


def test_step_equals_a_plain_one():
    """Up to the order of sums: the plain step adds up two backward passes."""
    ours = ready()
    logs = train(ours)
    model, plain = naive()
    train_plainly(plain)
    assert max(differences(ours, model).values(), default=0) < 1e-6
    assert all(log['source.loss_feature_distance'] > 0 for log in logs)
    assert ours.domains == ('source',)


@pytest.mark.parametrize('wrong', [dict(min_share=0.2), dict(classes=(0, 1, 3))])
def test_equality_can_fail(wrong):
    ours = ready()
    train(ours)
    model, plain = naive(**wrong)
    train_plainly(plain)
    assert max(differences(ours, model).values()) > 1e-4


def test_without_a_cell_the_loss_is_zero_and_changes_nothing():
    ours, without = ready(classes=(4,)), build({**settings(), 'adaptations': {}})
    logs = train(ours)
    train(without)
    assert all(log['source.loss_feature_distance'] == 0 for log in logs)
    assert differences(ours, without) == {}


def test_without_classes_all_cells_count():
    """Unlabelled ones too, as in DAFormer."""
    model = ready(classes=None)
    initial = copy.deepcopy(model.adaptations['one']._initial[0])
    images = model.data_preprocessor(data_with_regions(0)['source'], training=True)['inputs']
    with torch.no_grad():
        now, before = (network(images)[-1].numpy() for network in (model.backbone, initial))
    expected = 0.1 * np.sqrt(((now - before) ** 2).sum(1)).mean()
    assert train(model, iterations=1)[0]['source.loss_feature_distance'] == pytest.approx(expected, rel=1e-5)


def test_a_network_that_has_not_moved_has_a_gradient_of_zero():
    """The distance has no derivative at 0."""
    model = ready(classes=None)
    model.adaptations['one']._initial = (copy.deepcopy(model.backbone).requires_grad_(False),)
    without = build({**settings(), 'adaptations': {}})
    assert train(model, iterations=1)[0]['source.loss_feature_distance'] == 0
    train(without, iterations=1)
    assert differences(model, without) == {}


def test_the_initial_weights_are_those_of_the_config_wherever_the_run_stands(tmp_path):
    """Resumed runs find the very ones; a checkpoint does not hold them, and nothing random is drawn from the run."""
    pretrained = build(settings())
    torch.save(pretrained.backbone.state_dict(), tmp_path / 'weights.pth')
    config_of_run = settings()
    config_of_run['backbone'] |= dict(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth')))
    model = build(config_of_run)
    model.adaptations['one'].study({})
    train(model)
    assert differences(model.backbone, pretrained.backbone)
    state = torch.get_rng_state()
    model.adaptations['one'].study({})
    assert torch.equal(state, torch.get_rng_state())
    initial = model.adaptations['one']._initial[0]
    for name, value in initial.named_parameters():
        assert torch.equal(value, dict(pretrained.backbone.named_parameters())[name]) and not value.requires_grad
    assert not initial.training and not any(name.startswith('adaptations.') for name in model.state_dict())


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='ResNet', depth=18, base_channels=4, stem_channels=4),
        dict(type='SwinTransformer', embed_dims=4, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)),
        dict(type='EfficientNetLite0'),
    ],
    ids=lambda backbone: backbone['type'],
)
def test_parts_that_no_initialisation_touches_are_the_same_wherever_the_run_stands(backbone):
    """Running statistics, Swin's biases of positions, and layers without a scheme of their own."""
    head = dict(type='FCNHead', in_channels=4, in_index=0, channels=4, num_convs=1, num_classes=5)
    model = build({**settings(), 'backbone': backbone, 'decode_head': head})
    states = []
    for _ in range(2):
        model.adaptations['one'].study({})
        states.append(model.adaptations['one']._initial[0].state_dict())
        with torch.no_grad():
            for value in (*model.backbone.parameters(), *model.backbone.buffers()):
                value.add_(1)
    assert [name for name, value in states[0].items() if not torch.equal(value, states[1][name])] == []


def test_mmsegs_resnet_whose_eval_returns_nothing_has_an_initial_backbone():
    config_of_run = {
        **settings(classes=None),
        'backbone': dict(type='ResNet', depth=18, base_channels=4, stem_channels=4),
    }
    config_of_run['decode_head'] |= dict(in_index=[1, 2, 3], in_channels=[8, 16, 32])
    model = build(config_of_run)
    model.adaptations['one'].study({})
    assert not model.adaptations['one']._initial[0].training
    assert train(model, iterations=1)[0]['source.loss_feature_distance'] > 0


def test_published_values_are_the_defaults():
    """DAFormer: lambda .005, things of Cityscapes, three quarters of a cell."""
    one = build({**settings(), 'decode_head': {**settings()['decode_head'], 'num_classes': 19},
                 'adaptations': dict(one=dict(type='FeatureDistance'))}).adaptations['one']  # fmt: skip
    assert (one.weight, one.min_share, one.classes) == (0.005, 0.75, (6, 7, 11, 12, 13, 14, 15, 16, 17, 18))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(classes=(5,)), r'classes must be some of 0 to 4'),
        (dict(classes=()), r'classes must be some of 0 to 4'),
        (dict(min_share=0.5), r'min_share must be .* greater than 0\.5'),
        (dict(weight=0), r'weight must be'),
    ],
)
def test_settings_without_meaning_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(settings(**changes))


def test_a_neck_is_refused_and_a_run_that_was_not_begun():
    with pytest.raises(TypeError, match='neck'):
        build({**settings(), 'neck': dict(type='FPN', in_channels=[4, 8, 16], out_channels=4, num_outs=3)})
    with pytest.raises(RuntimeError, match='study'):
        train(build(settings()), iterations=1)
