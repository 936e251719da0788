"""Resuming under another learning rate, weight decay, schedule or length."""

import shutil

import pytest
import torch
from run_state import assert_identical, log_of, state_of
from toy_training import train

from cda_mmseg.utils.loading import load_checkpoint_file

STEPS = dict(type='MultiStepLR', by_epoch=False, milestones=[4, 8, 15], gamma=0.5)
WARMUP = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.1, begin=0, end=12),
    dict(type='PolyLR', by_epoch=False, power=2.0, begin=12, end=20),
]
PLAYERS = {
    'per player': dict(first=[STEPS], second=[]),
    'momentum': [STEPS, dict(type='StepMomentum', by_epoch=False, step_size=3, gamma=0.9)],
}


@pytest.fixture(scope='module')
def parent(tmp_path_factory):
    """A run of twenty iterations with checkpoints at 5, 10, 15 and 20."""
    work_dir = tmp_path_factory.mktemp('parent')
    train(work_dir)
    return work_dir


@pytest.fixture(scope='module')
def slower(tmp_path_factory):
    """The same with a lower learning rate."""
    work_dir = tmp_path_factory.mktemp('slower')
    train(work_dir, first=dict(lr=0.003))
    return work_dir


@pytest.fixture
def at_ten(parent, tmp_path):
    """The folder of a run that was killed after iteration 10."""
    return copy_of(parent, tmp_path / 'run')


def copy_of(parent, folder):
    folder.mkdir()
    for name in ('iter_5.pth', 'iter_10.pth'):
        shutil.copy(parent / name, folder)
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_10.pth'))
    return folder


def rates(work_dir):
    """Read the learning rates logged from iteration 11 on."""
    return {
        player: [value for step, value in log_of(work_dir)['training', f'{player}.lr'] if step > 10]
        for player in ('first', 'second')
    }


def messages(work_dir):
    return max(work_dir.glob('*/*.log')).read_text()


CHANGES = {
    'lower rate': (dict(first=dict(lr=0.003)), ['first: lr 0.03 → 0.003']),
    'weight decay': (dict(second=dict(weight_decay=0.1)), ['second: weight_decay 0 → 0.1']),
    'betas': (dict(first=dict(betas=(0.5, 0.9))), ['first: betas [0.9, 0.999] → [0.5, 0.9]']),
    'steps': (
        dict(schedule=STEPS),
        [
            'first: schedule PolyLR(begin=0, by_epoch=False, end=20, eta_min=0.0001',
            'power=0.9',
            '→ MultiStepLR(begin=0',
        ],
    ),
    'warm-up, then poly': (dict(schedule=WARMUP, first=dict(lr=0.01)), [') → LinearLR(', ') + PolyLR(', '0.03 → 0.01']),
    'no schedule': (dict(schedule=None), ['first: schedule PolyLR(', ') → none']),
    'one player only': (dict(schedule=PLAYERS['per player']), ['→ MultiStepLR(', 'second: schedule PolyLR(', '→ none']),
    'momentum too': (dict(schedule=PLAYERS['momentum']), [' + StepMomentum(']),
}


@pytest.mark.parametrize('name', CHANGES)
def test_the_configs_settings_are_in_force_and_named(name, at_ten, tmp_path):
    """From here on the rates are those of a run that had this config from its beginning."""
    changes, named = CHANGES[name]
    train(tmp_path / 'other', **changes)
    train(at_ten, resume=True, **changes)
    assert rates(at_ten) == rates(tmp_path / 'other')
    resumed, other = (load_checkpoint_file(str(folder / 'iter_20.pth')) for folder in (at_ten, tmp_path / 'other'))
    for player in ('first', 'second'):
        assert_identical(*(state['optimizer'][player]['param_groups'] for state in (resumed, other)))
    assert_identical(resumed.get('param_schedulers'), other.get('param_schedulers'))
    log = messages(at_ten)
    assert 'WARNING - This run goes on at iteration 10 with other settings than it began with.' in log
    assert all(text in log for text in named), log


def test_back_to_a_schedule_after_none(parent, tmp_path):
    train(tmp_path / 'run', max_iters=10, schedule=None)
    train(tmp_path / 'run', resume=True)
    assert rates(tmp_path / 'run') == rates(parent)
    assert 'length: 10 → 20 iterations' in messages(tmp_path / 'run')


def test_settings_change_once(parent, at_ten, tmp_path):
    """A second resume under the changed config goes on bit for bit, without a word; the former config comes back."""
    train(at_ten, resume=True, first=dict(lr=0.003))
    again = copy_of(at_ten, tmp_path / 'again')
    shutil.copy(at_ten / 'iter_15.pth', again)
    (again / 'last_checkpoint').write_text(str(again / 'iter_15.pth'))
    train(again, resume=True, first=dict(lr=0.003))
    assert 'other settings' not in messages(again)
    assert_identical(state_of(again / 'iter_20.pth'), state_of(at_ten / 'iter_20.pth'))
    train(again, resume=True, max_iters=20)
    assert 'first: lr 0.003 → 0.03' in messages(again)


def test_the_same_config_says_nothing_and_changes_nothing(parent, at_ten):
    train(at_ten, resume=True)
    assert 'other settings' not in messages(at_ten) and 'no record' not in messages(at_ten)
    assert_identical(state_of(at_ten / 'iter_20.pth'), state_of(parent / 'iter_20.pth'))


def spoil_record(path, record):
    checkpoint = torch.load(path, weights_only=False)
    hub = checkpoint['message_hub']
    if record is None:
        del hub['runtime_info']['run_settings'], hub['resumed_keys']['run_settings']
    else:
        hub['runtime_info']['run_settings'] = record
    torch.save(checkpoint, path)


JUNK = [None, 'text', 5, [], dict(players=5), dict(max_iters=20, players=dict(first=dict(groups=[]))), dict(players={})]


@pytest.mark.parametrize('record', JUNK)
def test_without_a_record_the_config_is_in_force(record, parent, slower, at_ten, tmp_path):
    """Checkpoints of before; where the config is the former one, nothing changes."""
    spoil_record(at_ten / 'iter_10.pth', record)
    other = copy_of(at_ten, tmp_path / 'other')
    train(at_ten, resume=True)
    final = [state_of(folder / 'iter_20.pth') for folder in (at_ten, parent)]
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_identical(final[0][part], final[1][part])
    assert (
        final[0]['message_hub']['runtime_info']['run_settings']
        == (final[1]['message_hub']['runtime_info']['run_settings'])
    )
    assert 'keeps no record of rates and schedules' in messages(at_ten)

    train(other, resume=True, first=dict(lr=0.003))
    assert rates(other) == rates(slower)
    assert 'first: lr 0.03 → 0.003' in messages(other)
