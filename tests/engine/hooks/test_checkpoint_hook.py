"""Checkpoints of real runs: killed, starved of disk, and gone on with."""

import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from mmengine.hooks import CheckpointHook
from run_state import assert_identical, checkpoints, log_of, state_of
from toy_training import build_runner, errors, finish, start, train, wait_for

from cda_mmseg.engine.checkpointing import (
    CheckpointWriteError,
    find_resume_point,
    load_checkpoint_file,
    read_resume_point,
    validation_due,
)
from cda_mmseg.engine.hooks import AtomicCheckpointHook

BEST = dict(save_best='target/mIoU', max_keep_ckpts=2)
KEPT = ['best_target_mIoU_iter_20.pth', 'iter_15.pth', 'iter_20.pth']


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """Train a run that nothing happens to."""
    work_dir = tmp_path_factory.mktemp('uninterrupted')
    assert finish(start(work_dir, checkpoint=BEST)) == 0, errors(work_dir)
    assert checkpoints(work_dir) == KEPT
    return work_dir


def assert_same_run(work_dir, uninterrupted):
    assert checkpoints(work_dir) == KEPT
    assert_identical(state_of(work_dir / 'iter_20.pth'), state_of(uninterrupted / 'iter_20.pth'))
    assert log_of(work_dir) == log_of(uninterrupted)
    best, expected = (load_checkpoint_file(str(folder / KEPT[0]))['state_dict'] for folder in (work_dir, uninterrupted))
    assert_identical(best, expected)


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    assert finish(process) == -signal.SIGKILL


@pytest.mark.parametrize(
    ('stage', 'iteration', 'newest'),
    [
        ('before_train_iter', 8, 5),
        ('before_val', 10, 10),
        ('after_val_iter', 15, 15),
        ('after_val', 15, 15),
        ('before_val', 20, 20),
    ],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(tmp_path, uninterrupted, stage, iteration, newest):
    process = start(tmp_path, checkpoint=BEST, hooks=[dict(type='PauseAt', stage=stage, iteration=iteration)])
    wait_for(tmp_path / 'paused', process)
    kill(process)
    assert find_resume_point(str(tmp_path)).iteration == newest
    assert finish(start(tmp_path, checkpoint=BEST, resume=True)) == 0, errors(tmp_path)
    assert_same_run(tmp_path, uninterrupted)
    swallowed = stage in ('before_val', 'after_val_iter')
    assert ('did not take place before' in errors(tmp_path)) == swallowed


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path):
    """Kill at the first byte of the second checkpoint, 60 MB large."""
    settings = dict(ballast=15_000_000, max_iters=4, val_interval=2, checkpoint=dict(interval=2, max_keep_ckpts=1))
    process = start(tmp_path, hooks=[dict(type='PauseAt', stage='before_train_iter', iteration=4)], **settings)
    wait_for(tmp_path / 'paused', process).unlink()
    wait_for(tmp_path / 'iter_4.pth.incomplete', process)
    kill(process)
    assert checkpoints(tmp_path) == ['iter_2.pth', 'iter_4.pth.incomplete']
    assert find_resume_point(str(tmp_path)).iteration == 2

    assert finish(start(tmp_path, resume=True, **settings)) == 0, errors(tmp_path)
    assert 'Removed iter_4.pth.incomplete' in errors(tmp_path)
    assert checkpoints(tmp_path) == ['iter_4.pth']
    assert read_resume_point(str(tmp_path / 'iter_4.pth')).iteration == 4


def test_the_old_one_goes_only_after_the_new_one_is_whole(tmp_path):
    """Follow renames and removals through the interpreter's audit events, in a run of this process."""
    events, newest_at_removal = [], []
    listening = True

    def listen(event, arguments):
        if not listening or event not in ('os.rename', 'os.remove') or str(tmp_path) not in str(arguments[0]):
            return
        name = os.path.basename(arguments[1] if event == 'os.rename' else arguments[0])
        events.append(f'{event[3:]} {name}')
        if event == 'os.remove':
            newest_at_removal.append(find_resume_point(str(tmp_path)).iteration)

    sys.addaudithook(listen)
    train(tmp_path, max_iters=9, val_interval=9, checkpoint=dict(interval=3, max_keep_ckpts=1))
    listening = False
    assert events == [
        'rename iter_3.pth',
        'rename last_checkpoint',
        'rename iter_6.pth',
        'rename last_checkpoint',
        'remove iter_3.pth',
        'rename iter_9.pth',
        'rename last_checkpoint',
        'remove iter_6.pth',
        # the validation is over
        'rename iter_9.pth',
        'rename last_checkpoint',
    ]
    assert newest_at_removal == [6, 9]


def test_what_a_kill_kept_from_being_removed_is_removed_later(tmp_path):
    settings = dict(max_iters=6, val_interval=6, checkpoint=dict(interval=2, max_keep_ckpts=1))
    process = start(tmp_path, hooks=[dict(type='PauseAtRemoval', name='iter_2.pth')], **settings)
    wait_for(tmp_path / 'paused', process)
    kill(process)
    assert checkpoints(tmp_path) == ['iter_2.pth', 'iter_4.pth']
    train(tmp_path, resume=True, **settings)
    assert checkpoints(tmp_path) == ['iter_6.pth']


@pytest.mark.parametrize('trouble', ['disk full', 'read-only folder'])
def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_ones(tmp_path, trouble):
    hook = dict(type='LimitFileSizeAt' if trouble == 'disk full' else 'ForbidWritingAt', stage='after_val', iteration=5)
    work_dir = tmp_path / 'run'
    for folder in (tmp_path, *tmp_path.parents):
        # pytest's own folders are closed to the user that the child becomes
        if Path(tempfile.gettempdir()) in folder.parents:
            folder.chmod(0o755)
    assert finish(start(work_dir, hooks=[hook], checkpoint=BEST, ballast=50_000)) == 1
    work_dir.chmod(0o777)
    if trouble != 'disk full':
        assert (work_dir / 'log' / 'refused').exists(), 'the folder did not refuse: the test shows nothing'

    message = errors(work_dir).strip().splitlines()[-1]
    reason, advice = {
        'disk full': ('File too large', 'Raise the limit on file sizes'),
        'read-only folder': ('Permission denied', 'Make the folder writable'),
    }[trouble]
    assert 'CheckpointWriteError: Cannot write checkpoint' in message
    for part in ('iter_10.pth', reason, advice, f'the newest is {work_dir}/iter_5.pth', '--resume auto'):
        assert part in message
    assert checkpoints(work_dir) == ['best_target_mIoU_iter_5.pth', 'iter_5.pth']
    assert find_resume_point(str(work_dir)).iteration == 5
    assert finish(start(work_dir, checkpoint=BEST, resume=True, ballast=50_000)) == 0, errors(work_dir)
    assert checkpoints(work_dir) == KEPT


def test_the_failure_reaches_every_process(tmp_path):
    hook = dict(type='LimitFileSizeAt', stage='after_train_iter', iteration=3)
    processes = [start(tmp_path, rank, 2, hooks=[hook], ballast=50_000) for rank in range(2)]
    assert [finish(process, timeout=30) for process in processes] == [1, 1]
    for rank in range(2):
        assert 'CheckpointWriteError: Cannot write checkpoint' in errors(tmp_path, rank).strip().splitlines()[-1]
    assert checkpoints(tmp_path) == []


def test_saves_at_ends_of_accumulation_cycles_only(tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    settings = dict(accumulative_counts=4, max_iters=18, val_interval=100, checkpoint=dict(interval=5))
    train(whole, **settings)
    # 5, 10 and 15 wait for 8, 12 and 16; the last cycle is cut short by the end of the run
    assert checkpoints(whole) == ['iter_12.pth', 'iter_16.pth', 'iter_18.pth', 'iter_8.pth']
    parts.mkdir()
    (parts / 'iter_12.pth').write_bytes((whole / 'iter_12.pth').read_bytes())
    train(parts, resume=True, **settings)
    first, second = (load_checkpoint_file(str(folder / 'iter_18.pth')) for folder in (whole, parts))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_identical(first[part], second[part])


def test_a_checkpoint_says_whose_it_is(tmp_path):
    train(tmp_path, max_iters=5, hooks=[dict(type='SamplesConsumed')], seed=11)
    point = read_resume_point(str(tmp_path / 'iter_5.pth'))
    assert (point.iteration, point.seed, point.world_size, point.samples_consumed) == (5, 11, 1, dict(source=20))
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert re.search(r'seed: 11\b', log)


def test_best_weights_are_those_of_the_best_score(tmp_path):
    train(tmp_path, checkpoint=dict(save_best=['target/mIoU'], interval=50, rule='less'), val_interval=4)
    scores = dict(log_of(tmp_path)['validation', 'target/mIoU'])
    best = min(scores, key=scores.get)
    names = [name for name in checkpoints(tmp_path) if name.startswith('best')]
    assert names == [f'best_target_mIoU_iter_{best}.pth']
    saved = load_checkpoint_file(str(tmp_path / 'iter_20.pth'))
    assert saved['message_hub']['runtime_info']['best_score'] == scores[best]
    assert 'optimizer' not in load_checkpoint_file(str(tmp_path / names[0]))


def test_a_score_that_is_not_there_is_named(tmp_path):
    with pytest.raises(KeyError, match=r'target/mIoU16.*the validation gave: target/mIoU'):
        train(tmp_path, max_iters=5, checkpoint=dict(save_best='target/mIoU16'))


def test_no_file_outside_the_runs_folder_is_touched(tmp_path):
    """Resume from a checkpoint whose records name files elsewhere."""
    run, elsewhere = tmp_path / 'run', tmp_path / 'elsewhere'
    elsewhere.mkdir()
    victims = [elsewhere / 'best_x_iter_1.pth', elsewhere / 'iter_1.pth', tmp_path / 'iter_1.pth']
    for victim in victims:
        victim.write_text('precious')
    train(run, max_iters=5, checkpoint=BEST)
    inside = run / 'notes.pth'
    inside.write_text('precious')
    checkpoint = torch.load(run / 'iter_5.pth', weights_only=False)
    checkpoint['message_hub']['runtime_info'].update(
        best_ckpt=str(victims[0]),
        best_score=-100.0,
        superseded_checkpoints=[str(victims[1]), '../iter_1.pth', 'notes.pth'],
        keep_ckpt_ids=[f'{elsewhere}/iter_1.pth', '../../elsewhere/x', 5],
    )
    checkpoint['message_hub']['resumed_keys'].update(superseded_checkpoints=True, keep_ckpt_ids=True)
    torch.save(checkpoint, run / 'iter_5.pth')
    train(run, resume=True, max_iters=20, checkpoint=BEST)
    assert all(victim.read_text() == 'precious' for victim in [*victims, inside])


def test_warns_of_an_earlier_run_in_the_same_folder(tmp_path):
    train(tmp_path, max_iters=5)
    train(tmp_path, max_iters=5)
    logs = sorted(tmp_path.glob('*/*.log'))
    assert 'holds checkpoints of an earlier run (iter_5.pth)' in logs[-1].read_text()


@pytest.mark.parametrize(
    ('val_interval', 'dynamic_intervals', 'max_iters'), [(4, None, 14), (5, [(6, 2), (11, 3)], 16), (30, None, 6)]
)
def test_a_validation_is_due_exactly_where_the_loop_would_have_validated(
    tmp_path, val_interval, dynamic_intervals, max_iters
):
    settings = dict(val_interval=val_interval, dynamic_intervals=dynamic_intervals, max_iters=max_iters)
    runner = train(tmp_path, checkpoint=dict(interval=1), **settings)
    validated = [step for step, _ in log_of(tmp_path)['validation', 'target/mIoU']]
    assert validated
    due = []
    for iteration in range(max_iters + 1):
        runner.train_loop._iter = iteration
        runner.message_hub.update_info('last_validation', -1)
        due += [iteration] if validation_due(runner) else []
        runner.message_hub.update_info('last_validation', iteration)
        assert not validation_due(runner)
    assert due == validated


def test_an_interval_between_validations_loses_none(tmp_path):
    """Kill between two checkpoints, after a validation that no checkpoint holds."""
    settings = dict(val_interval=4, checkpoint=dict(interval=10, save_best='target/mIoU'))
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    train(whole, **settings)
    process = start(parts, hooks=[dict(type='PauseAt', stage='before_train_iter', iteration=19)], **settings)
    wait_for(parts / 'paused', process)
    kill(process)
    assert finish(start(parts, resume=True, **settings)) == 0, errors(parts)
    assert log_of(parts) == log_of(whole)
    assert_identical(state_of(parts / 'iter_20.pth'), state_of(whole / 'iter_20.pth'))


@pytest.mark.parametrize(
    'wrong',
    [
        dict(by_epoch=True),
        dict(interval=0),
        dict(interval=2.5),
        dict(max_keep_ckpts=0),
        dict(save_best='auto'),
        dict(save_best=['auto']),
    ],
)
def test_refuses_what_has_no_meaning(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AtomicCheckpointHook(**wrong)


def test_takes_the_place_of_mmengines_hook(tmp_path):
    runner = build_runner(tmp_path)
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    assert [type(hook) for hook in hooks] == [AtomicCheckpointHook]
    stock = build_runner(tmp_path / 'stock', checkpoint_type='CheckpointHook', max_iters=5)
    stock.train()
    # what MMEngine's own hook saved can be gone on with, and the other way round
    train(tmp_path / 'stock', resume=True, max_iters=10)
    assert checkpoints(tmp_path / 'stock') == ['iter_10.pth', 'iter_5.pth']


def test_an_unwritable_state_is_reported_as_well(tmp_path):
    with pytest.raises(CheckpointWriteError, match='There is no earlier checkpoint'):
        train(tmp_path, max_iters=5, hooks=[dict(type='SpoilMessageHub')])
    assert checkpoints(tmp_path) == []
