"""A short logging history must not change what is logged."""

import json
import pickle

import numpy as np
import pytest
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmseg.registry import HOOKS
from toy_training import build_runner, train

from cda_mmseg.engine.hooks import BoundedHistoryHook
from cda_mmseg.utils.loading import load_checkpoint_file

CUSTOM = [
    dict(data_src='first_loss', method_name='mean', window_size=25, log_name='first_loss_of_25'),
    dict(data_src='second_loss', method_name='max', window_size=13, log_name='second_loss_highest'),
]
UNLIMITED = [
    dict(data_src='first_loss', method_name='mean', window_size='global', log_name='first_loss_of_all'),
    dict(data_src='second_loss', method_name='min', window_size=None, log_name='second_loss_lowest'),
]


def records(work_dir):
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    return [
        {key: value for key, value in json.loads(line).items() if not key.endswith('time')}
        for line in path.read_text().splitlines()
    ]


@pytest.mark.parametrize('custom', [None, CUSTOM, CUSTOM + UNLIMITED], ids=['default', 'windows', 'unlimited'])
def test_logs_the_same_values(tmp_path, custom):
    settings = dict(max_iters=40, val_interval=20, log_processor=dict(by_epoch=False, custom_cfg=custom))
    train(tmp_path / 'stock', **settings)
    runner = train(tmp_path / 'bounded', hooks=[dict(type='BoundedHistoryHook')], **settings)
    logged = records(tmp_path / 'bounded')
    assert logged == records(tmp_path / 'stock')
    assert len(logged) == 42

    lengths = {key: len(history.data[0]) for key, history in runner.message_hub.log_scalars.items()}
    expected = {None: (10, 10), 2: (25, 13), 4: (40, 40)}[custom and len(custom)]
    assert (lengths['train/first_loss'], lengths['train/second_loss']) == expected
    assert {lengths[key] for key in ('train/first.lr', 'train/time', 'train/data_time')} == {10}


def test_says_which_history_is_unlimited(tmp_path):
    log_processor = dict(by_epoch=False, custom_cfg=UNLIMITED)
    train(tmp_path, max_iters=5, hooks=[dict(type='BoundedHistoryHook')], log_processor=log_processor)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count("looks back to the beginning for 'first_loss'") == 1
    assert log.count("looks back to the beginning for 'second_loss'") == 1


@HOOKS.register_module()
class KeepAll(Hook):
    """Note every value of a validation's times, which no two runs have in common."""

    def __init__(self):
        self.values = []
        self.lengths = []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append(runner.message_hub.get_scalar('val/time').current())
        self.lengths.append(len(runner.message_hub.get_scalar('val/time').data[0]))


def test_averages_a_validations_times_as_mmengine_does(tmp_path):
    # MMEngine's window is one longer than the validation: from the second one on it reaches into the one before
    settings = dict(max_iters=20, val_interval=5, val_batch_size=1)
    runner = train(tmp_path, hooks=[dict(type='BoundedHistoryHook'), dict(type='KeepAll')], **settings)
    (keeper,) = (hook for hook in runner.hooks if isinstance(hook, KeepAll))
    (path,) = tmp_path.glob('*/vis_data/scalars.json')
    logged = [record['time'] for line in path.read_text().splitlines() if 'iter' not in (record := json.loads(line))]
    assert len(logged) == 4
    for validation, mean in enumerate(logged, start=1):
        everything = HistoryBuffer(keeper.values[: 16 * validation], [1] * 16 * validation)
        assert mean == pytest.approx(everything.mean(17), rel=1e-12)
    assert max(keeper.lengths) <= 18


def test_shortens_what_a_checkpoint_of_mmengines_hook_brought_along(tmp_path):
    train(tmp_path, max_iters=30)
    stock = load_checkpoint_file(str(tmp_path / 'iter_30.pth'))
    assert len(stock['message_hub']['log_scalars']['train/first_loss'].data[0]) == 30
    train(tmp_path, max_iters=35, resume=True, hooks=[dict(type='BoundedHistoryHook')])
    saved = load_checkpoint_file(str(tmp_path / 'iter_35.pth'))
    assert len(saved['message_hub']['log_scalars']['train/first_loss'].data[0]) == 10


def test_a_checkpoint_does_not_grow_with_the_run(tmp_path):
    """Write 100,000 values of history the stock way, then go on bounded."""
    sizes = {}
    for name, hooks in (('stock', []), ('bounded', [BoundedHistoryHook()])):
        runner = build_runner(tmp_path / name)
        values = np.arange(100_000.0)
        for index in range(15):
            history = HistoryBuffer(values, np.ones_like(values))
            runner.message_hub.log_scalars[f'train/loss_{index}'] = history
        for step in range(12):
            for index in range(15):
                runner.message_hub.update_scalar(f'train/loss_{index}', float(step))
            for hook in hooks:
                hook.after_train_iter(runner, step)
        sizes[name] = len(pickle.dumps(runner.message_hub.state_dict()))
        assert runner.message_hub.get_scalar('train/loss_3').mean(10) == 6.5
    assert sizes['stock'] > 23_000_000
    assert sizes['bounded'] < 20_000


def test_keeps_more_for_other_readers(tmp_path):
    runner = train(tmp_path, max_iters=20, hooks=[dict(type='BoundedHistoryHook', min_length=15)])
    assert len(runner.message_hub.get_scalar('train/first_loss').data[0]) == 15
    with pytest.raises(ValueError, match=r'min_length must be at least 1, got 0'):
        BoundedHistoryHook(min_length=0)
