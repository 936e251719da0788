"""Alarms: each kind by what a model logs, and all together in real runs, one of which collapses."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmseg.registry import MODELS
from torch.utils.data import TensorDataset

from cda_mmseg.engine import UDARunner
from cda_mmseg.engine.hooks import AlarmHook
from cda_mmseg.models.adaptations import Adaptation
from cda_mmseg.models.segmentors import signals
from cda_mmseg.visualization.run_log import read_run_log

SHARES = dict(road=0.5, sky=0.3, car=0.2)


def shares(name: str, **values: float) -> dict[str, float]:
    return {f'{name}.{label}': value for label, value in values.items()}


def logged(target: dict | None = None, source: dict | None = None, **others: float) -> dict[str, float]:
    log = shares('source.label_share', **SHARES) | shares('source.share', **(source or SHARES))
    return log | shares('target.share', **(target or SHARES)) | {n.replace('__', '.'): v for n, v in others.items()}


class Scripted(BaseModel):
    """Log what it is told, one dict per iteration."""

    def __init__(self, logs):
        super().__init__()
        self.logs, self.weight = list(logs), torch.nn.Parameter(torch.zeros(1))

    def forward(self):
        raise NotImplementedError

    def train_step(self, data, optim_wrapper):
        return self.logs.pop(0)


def train(work_dir, logs: list[dict], **settings) -> Runner:
    """Train with a model that logs this, blocks of one iteration."""
    runner = Runner(
        Scripted(logs),
        str(work_dir),
        train_dataloader=dict(
            dataset=TensorDataset(torch.zeros(4)), sampler=dict(type='InfiniteSampler', shuffle=False), batch_size=1
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        train_cfg=dict(by_epoch=False, max_iters=len(logs)),
        custom_hooks=[AlarmHook(**{'block': 1, **settings})],
        experiment_name=work_dir.name,
    )
    runner.train()
    return runner


def alarms(work_dir, logs: list[dict], **settings) -> list[str]:
    """Return the alarms of such a run."""
    train(work_dir, logs, **settings)
    return alarms_of(work_dir)


def alarms_of(work_dir) -> list[str]:
    log = next(work_dir.glob('*/*.log')).read_text()
    return [line.partition('ALARM in the ')[2] for line in log.splitlines() if 'ALARM' in line]


def test_what_is_well_raises_none(tmp_path):
    logs = [logged(discriminator__accuracy=0.8, target__confidence=0.5 + 0.1 * step) for step in range(5)]
    assert alarms(tmp_path, logs) == []


def test_shares_that_run_away_are_named_once(tmp_path):
    away = logged(dict(road=0.0, sky=1.0, car=0.0))  # half of |.5| + |.7| + |.2|
    found = alarms(tmp_path, [logged(), logged(), away, away, away])
    assert [text.split(': what')[0] for text in found if 'away' in text] == [
        "training at iteration 4: the class shares predicted on the target are 70% away from the source's (limit 50%): "
        'sky has 100% instead of 30%. What it may mean and what to turn: docs/when_it_helps.md.'
    ]
    assert alarms(tmp_path / 'lax', [logged(), logged(), away, away], share_distance=0.8) == []


def test_a_head_that_has_learnt_nothing_yet_raises_none(tmp_path):
    fresh = dict(road=0.0, sky=1.0, car=0.0)
    assert alarms(tmp_path, [logged(fresh, fresh)] * 5) == []


def test_a_class_that_vanishes(tmp_path):
    gone = logged(dict(road=0.6, sky=0.4, car=0.0))
    found = alarms(tmp_path, [logged(), gone, gone, gone])
    assert found == []
    found = alarms(tmp_path / 'longer', [gone, gone, gone, gone, gone])
    assert len(found) == 1 and found[0].startswith('training at iteration 4: car is predicted on 20.0% of the source')
    rare = logged(dict(road=0.6, sky=0.4, car=0.0), dict(road=0.59, sky=0.4, car=0.01))
    assert alarms(tmp_path / 'rare', [rare] * 5) == []


@pytest.mark.parametrize(('moves', 'surer'), [(True, True), (True, False), (False, True)])
def test_confidence_that_rises_while_shares_drift(tmp_path, moves, surer):
    before = logged(target__confidence=0.6)
    after = logged(
        dict(road=0.3, sky=0.5, car=0.2) if moves else None, target__confidence=0.8 if surer else 0.6
    )  # a distance of .2
    found = alarms(tmp_path, [before, before, after, after])
    assert len(found) == (moves and surer)
    assert all('risen by 0.20 to 0.80' in text and 'by 0.20.' in text for text in found)


@pytest.mark.parametrize(('accuracy', 'word'), [(0.995, 'hardly ever wrong'), (0.505, 'blind'), (0.7, None)])
def test_a_discriminator_that_says_nothing(tmp_path, accuracy, word):
    logs = [{'second.accuracy': accuracy, 'second.accuracy.source': 1.0}] * 3
    found = alarms(tmp_path, logs)
    assert len(found) == (word is not None) and all(word in text for text in found)


def test_the_shares_of_a_validation(tmp_path):
    runner, hook = train(tmp_path, [{}] * 7), AlarmHook()
    source = shares('source/share', road=50.0, sky=30.0, car=20.0)
    for target in (dict(road=40.0, sky=40.0, car=20.0), dict(road=5.0, sky=95.0, car=0.0)):
        hook.after_val_epoch(runner, source | shares('target/share', **target) | {'target/share_distance': 1.0})
    hook.after_val_epoch(runner, {'target/share.road': 100.0})
    found = alarms_of(tmp_path)
    assert [text.split(' What')[0] for text in found] == [
        "validation at iteration 7: the class shares predicted on the target are 65% away from the source's "
        '(limit 50%): sky has 95% instead of 30%.',
        'validation at iteration 7: car is predicted on 20.0% of the source and on 0.00% of the target.',
    ]


@pytest.mark.parametrize('settings', [dict(share_distance=0), dict(share_distance=1.5), dict(block=0)], ids=str)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match=f'AlarmHook.{next(iter(settings))} must be'):
        AlarmHook(**settings)


@MODELS.register_module()
class PullToOneClass(Adaptation):
    """Provoke a collapse: the target shall be one class everywhere."""

    reads = {'target': 'scores'}

    def __init__(self, weight, **settings):
        super().__init__(**settings)
        self.weight = weight

    def encoder_losses(self, encoded, step):
        return {'target.loss_pull': -self.weight * encoded.scores['target'][0].log_softmax(1)[:, 10].mean()}


@pytest.mark.parametrize('weight', [0.0, 10.0], ids=['healthy', 'collapse'])
def test_a_collapse_on_purpose_raises_alarms_and_a_healthy_run_none(smoke_config, tmp_path, monkeypatch, weight):
    monkeypatch.setattr(signals, 'INTERVAL', 2)
    config = smoke_config('source_only_gta2city')
    config.work_dir = str(tmp_path)
    config.train_dataloader.batch_size = config.target_dataloader.batch_size = 4
    config.model.adaptations = dict(pull=dict(type='PullToOneClass', weight=weight, begin=0.5))
    config.optim_wrapper.encoder.optimizer.lr = 0.003
    config.default_hooks.logger.interval = 4
    config.train_cfg.update(max_iters=40, val_interval=40)
    next(hook for hook in config.custom_hooks if hook['type'] == 'AlarmHook').update(block=4)
    UDARunner.from_cfg(config).train()
    found = alarms_of(tmp_path)
    assert 'target.share.sky' in read_run_log(tmp_path).training
    assert 'share.sky' not in next(tmp_path.glob('*/*.log')).read_text()
    if weight == 0:
        assert found == []
    else:
        assert any('away from the source' in text and 'sky has' in text for text in found)
