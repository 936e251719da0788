"""What a step tells of itself, against NumPy, and that telling it changes nothing."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from cda_mmseg.models.adaptations.self_training import agreement
from cda_mmseg.models.segmentors import signals
from tests.models.adaptations.plain_step import config, train
from tests.models.segmentors.tiny_model import build

NAMES = ('a', 'b', 'c')
PATCHES = dict(type='PatchGANDiscriminator', base_channels=4, num_layers=3)
OUTPUT_SPACE = dict(type='OutputSpaceAdversary', discriminator=PATCHES, loss_gan=dict(type='GANLoss'), weight=0.1)
FEATURES = dict(
    type='GradientReversal', discriminator=dict(type='FeatureDiscriminator'), loss_gan=dict(type='GANLoss'), weight=0.1
)
SELF_TRAINING = dict(type='SelfTraining', threshold=0.2)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


class Head:
    ignore_index = 255

    def __init__(self, *losses):
        self.loss_decode = nn.ModuleList(losses) if len(losses) > 1 else losses[0]


def loss(base=None, **children):
    module = nn.Module()
    if base is not None:
        module.base = base
    for name, child in children.items():
        setattr(module, name, child)
    return module


def softmax(scores: torch.Tensor) -> np.ndarray:
    exponentials = np.exp(scores.double().numpy())
    return exponentials / exponentials.sum(1, keepdims=True)


def test_source_signals():
    scores, labels = 2 * torch.randn(2, 3, 8, 10), torch.randint(3, (2, 8, 10))
    labels[:, :2] = 255
    # Labels are four times as wide and high as the scores.
    large = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    log = signals.source_signals(scores, large, Head(loss(base=1.5)), NAMES)
    rows, ids = softmax(scores), labels.numpy()
    p_t = np.array([rows[n, ids[n, y, x], y, x] for n in range(2) for y in range(2, 8) for x in range(10)])
    expected = {f'source.p_t.q{100 * q:02.0f}': np.quantile(p_t, q) for q in (0.05, 0.5, 0.95)}
    expected['source.p_t.above'] = (p_t > 1 / 1.5).mean()
    for index, name in enumerate(NAMES):
        expected[f'source.share.{name}'] = (rows.argmax(1) == index).mean()
        expected[f'source.label_share.{name}'] = (ids[:, 2:] == index).mean()
    assert {name: float(value) for name, value in log.items()} == pytest.approx(expected, rel=1e-5)


def test_many_pixels_are_thinned_evenly():
    scores, labels = torch.randn(1, 3, 40, 40), torch.randint(3, (1, 40, 40))
    log = signals.target_signals(scores, NAMES, most=100)
    assert log == signals.target_signals(scores[:, :, ::4, ::4], NAMES)
    thinned = signals.source_signals(scores, labels, Head(loss()), NAMES, most=100)
    assert {name: round(float(value) * 100) for name, value in thinned.items() if 'share' in name}.keys() == {
        f'source.{kind}.{name}' for kind in ('share', 'label_share') for name in NAMES
    }


def test_target_signals():
    scores = torch.randn(2, 3, 6, 7)
    rows = softmax(scores)
    expected = {'target.confidence': rows.max(1).mean()}
    expected |= {f'target.share.{name}': (rows.argmax(1) == index).mean() for index, name in enumerate(NAMES)}
    log = signals.target_signals(scores, NAMES)
    assert {name: float(value) for name, value in log.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ('losses', 'base'),
    [
        ([loss()], math.e),
        ([loss(base=2.0)], 2.0),
        ([loss(), loss(base=3.0)], 3.0),
        ([loss(warm=loss(), main=loss(base=4.0))], 4.0),
    ],
    ids=['cross entropy', 'conservative', 'second of two', 'after a warm start'],
)
def test_the_base_is_that_of_the_loss(losses, base):
    scores = torch.randn(1, 3, 30, 30)
    labels = torch.zeros(1, 30, 30, dtype=torch.long)
    above = signals.source_signals(scores, labels, Head(*losses), NAMES)['source.p_t.above']
    assert float(above) == pytest.approx((softmax(scores)[:, 0] > 1 / base).mean())


def test_a_batch_without_labels_has_no_quantiles():
    log = signals.source_signals(torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), 255), Head(loss()), NAMES)
    assert log['source.p_t.q50'].isnan() and log['source.p_t.above'] == 0 and log['source.label_share.a'] == 0


def test_agreement_of_student_and_teacher():
    scores, labels = torch.randn(2, 3, 5, 6), torch.randint(3, (2, 10, 12))
    counted = torch.rand(2, 10, 12) < 0.6
    # The nearest of an even number of pixels is the second.
    same = (scores.argmax(1) == labels[:, 1::2, 1::2])[counted[:, 1::2, 1::2]]
    assert float(agreement(scores, labels, counted)) == pytest.approx(same.double().mean().item())
    assert agreement(scores, labels, torch.zeros_like(counted)) == 0


@pytest.mark.parametrize(
    ('adaptations', 'players'),
    [
        ({}, ()),
        ({'output_space': OUTPUT_SPACE}, ('output_discriminator',)),
        ({'reversal': FEATURES}, ('feature_discriminator',)),
        ({'self_training': SELF_TRAINING}, ()),
    ],
    ids=['source only', 'scores', 'features', 'images'],
)
def test_measuring_changes_no_weight(adaptations, players, monkeypatch):
    weights, logs = [], []
    for interval in (1, 1000):
        monkeypatch.setattr(signals, 'INTERVAL', interval)
        model = build(config(**adaptations))
        logs.append(train(model, players))
        weights.append(model.state_dict())
        assert model.backbone.training
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    for measured, plain in zip(*logs, strict=True):
        assert {name: measured[name] for name in plain} == plain
        assert ('target.share.4' in measured) == bool(adaptations)
        assert sum(measured[f'source.share.{number}'] for number in range(5)) == pytest.approx(1)
        assert 'source.p_t.q50' in measured and not any('p_t' in name for name in plain)


def test_the_accuracy_of_each_domain():
    log = train(build(config(output_space=OUTPUT_SPACE)), ('output_discriminator',), iterations=1)[0]
    of_domains = [log[f'output_discriminator.accuracy.{domain}'] for domain in ('source', 'target')]
    assert log['output_discriminator.accuracy'] == pytest.approx(sum(of_domains) / 2)


def test_the_gradient_ratio_is_that_of_the_terms():
    features = [torch.randn(2, 3, requires_grad=True), torch.randn(4, requires_grad=True)]
    segmentation = {'decode.loss': 3 * features[0].sum(), 'acc_seg': torch.ones(())}
    adaptation = {'a.loss': features[0].square().sum(), 'b.loss': 2 * features[1].sum()}
    sides = (2 * features[0].detach()).square().sum() + 4 * 4
    ratio = signals.gradient_ratio(adaptation, segmentation, features)
    assert float(ratio) == pytest.approx(math.sqrt(sides / (9 * 6)), rel=1e-5)


def test_the_gradient_ratio_is_measured_where_it_is_switched_on():
    """Twice the weight is twice the ratio, and no weight is another."""
    ratios, weights = [], []
    for interval, weight in ((None, 0.1), (2, 0.1), (2, 0.2)):
        settings = config(output_space={**OUTPUT_SPACE, 'weight': weight})
        model = build({**settings, 'gradient_ratio_interval': interval})
        logs = train(model, ('output_discriminator',), iterations=1, first=1)
        ratios.append(logs[0].get('encoder.gradient_ratio'))
        weights.append(model.state_dict())
    assert ratios[0] is None and ratios[2] == pytest.approx(2 * ratios[1], rel=1e-4) and ratios[1] > 0
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    with pytest.raises(ValueError, match='gradient_ratio_interval'):
        build({**config(), 'gradient_ratio_interval': 0})
