"""Checkpoints of real runs: killed, starved of disk, and gone on with."""

import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from run_state import assert_identical, checkpoints, log_of, state_of
from toy_training import build_runner, errors, finish, start, train, wait_for

from cda_mmseg import launch
from cda_mmseg.engine.checkpointing import find_resume_point, read_resume_point, validation_due
from cda_mmseg.engine.hooks import AtomicCheckpointHook
from cda_mmseg.utils.loading import CheckpointError, CheckpointWriteError, NonFiniteStateError, load_checkpoint_file

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
    assert [finish(process) for process in processes] == [1, 1]
    for rank in range(2):
        assert 'CheckpointWriteError: Cannot write checkpoint' in errors(tmp_path, rank).strip().splitlines()[-1]
    assert checkpoints(tmp_path) == []


SPOILT = [('weight', 'nan', 'first.weight'), ('exp_avg_sq', 'inf', 'optimizer.first.state.0.exp_avg_sq')]


@pytest.mark.parametrize(('state', 'value', 'name'), SPOILT)
def test_what_is_not_finite_is_not_saved(tmp_path, state, value, name):
    spoil = dict(type='SpoilAt', stage='after_train_iter', iteration=10, state=state, value=value)
    with pytest.raises(
        CheckpointWriteError, match=rf'iter_10\.pth .*not finite: 1 of \d+ tensors, as {name}.*iter_5\.pth'
    ):
        train(tmp_path, hooks=[dict(spoil, priority='NORMAL')])
    assert checkpoints(tmp_path) == ['iter_5.pth']
    assert find_resume_point(str(tmp_path)).iteration == 5
    train(tmp_path, resume=True)
    assert read_resume_point(str(tmp_path / 'iter_20.pth')).iteration == 20


def test_the_best_weights_are_finite_too(tmp_path):
    spoil = dict(type='SpoilAt', stage='after_train_iter', iteration=4, state='ballast', value='nan')
    with pytest.raises(CheckpointWriteError, match=r'best_target_mIoU_iter_4\.pth .*not finite'):
        train(tmp_path, val_interval=4, checkpoint=BEST, hooks=[spoil], ballast=3)
    assert checkpoints(tmp_path) == []


def test_all_processes_learn_that_something_is_not_finite(tmp_path):
    spoil = dict(type='SpoilAt', stage='after_train_iter', iteration=5, state='weight', value='nan', priority='NORMAL')
    processes = [start(tmp_path, rank, 2, hooks=[spoil]) for rank in range(2)]
    assert [finish(process) for process in processes] == [1, 1]
    for rank in range(2):
        assert 'CheckpointWriteError: Cannot write checkpoint' in errors(tmp_path, rank).strip().splitlines()[-1]


@pytest.mark.parametrize(('state', 'value', 'name'), SPOILT)
def test_a_run_does_not_start_from_what_is_not_finite(tmp_path, state, value, name):
    """Resume a file that the tools would not have chosen."""
    train(tmp_path, max_iters=5)
    path = tmp_path / 'iter_5.pth'
    checkpoint = torch.load(path, weights_only=False)
    states = checkpoint['optimizer']['first']['state'][0]
    (checkpoint['state_dict']['first.weight'] if state == 'weight' else states[state]).view(-1)[0] = float(value)
    torch.save(checkpoint, path)
    runner = build_runner(tmp_path / 'other', load_from=str(path))
    runner._resume = True
    with pytest.raises(NonFiniteStateError, match=rf'(?=.*not finite: .*{name})(?=.*iter_5\.pth)'):
        runner.train()
    assert not checkpoints(tmp_path / 'other')


def test_the_death_of_a_worker_while_saving_is_reported_as_that(tmp_path):
    settings = dict(num_workers=2, val_interval=100)
    process = start(tmp_path, hooks=[dict(type='KillWorkerAtSave', iteration=10)], **settings)
    assert finish(process) == 1
    message = errors(tmp_path).strip().splitlines()[-1]
    assert re.search(
        r'A data loader worker died \(DataLoader worker \(pid \d+\) is killed by signal: Killed\.\) while '
        r'\S+iter_10\.pth was being written, which is left out\. Earlier checkpoints are intact, the newest is '
        r'\S+iter_5\.pth\.',
        message,
    )
    assert 'Cannot write' not in message
    assert checkpoints(tmp_path) == ['iter_5.pth']
    train(tmp_path, resume=True, **settings)
    assert checkpoints(tmp_path)[-1] == 'iter_5.pth' and 'iter_20.pth' in checkpoints(tmp_path)


EARLY = dict(type='EarlyStoppingHook', monitor='target/mIoU', rule='greater', patience=1, min_delta=1000.0)
ENDINGS = {
    'early stopping': (EARLY, 6),
    'within the loop': (dict(type='EndAt', stage='after_train_iter', iteration=7), 7),
    'at a checkpoint': (dict(type='EndAt', stage='after_train_iter', iteration=5), 5),
    'before the first': (dict(type='EndAt', stage='after_train_iter', iteration=2), 2),
}


@pytest.mark.parametrize('name', ENDINGS)
@pytest.mark.parametrize('processes', [1, 2])
def test_a_run_that_a_hook_ends_is_saved_and_can_go_on(name, processes, tmp_path):
    hook, last = ENDINGS[name]
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    settings = dict(val_interval=3, checkpoint=dict(interval=5, max_keep_ckpts=1))
    children = [
        start(parts, rank, processes, hooks=[hook, dict(type='StopHook')], **settings) for rank in range(processes)
    ]
    assert [finish(child) for child in children] == [0] * processes, errors(parts)
    assert checkpoints(parts) == [f'iter_{last}.pth']
    assert find_resume_point(str(parts)).iteration == last
    if processes == 1:
        train(whole, **settings)
        train(parts, resume=True, **settings)
        first, second = (state_of(folder / 'iter_20.pth') for folder in (parts, whole))
        for part in ('state_dict', 'optimizer', 'param_schedulers'):
            assert_identical(first[part], second[part])
        assert first['message_hub']['runtime_info'] == second['message_hub']['runtime_info']
        assert log_of(parts) == log_of(whole)
        assert checkpoints(parts) == ['iter_20.pth']


def test_an_end_within_an_accumulation_cycle_says_what_is_lost(tmp_path):
    end = dict(type='EndAt', stage='after_train_iter', iteration=6)
    train(tmp_path, accumulative_counts=4, hooks=[end], checkpoint=dict(interval=5))
    # the checkpoint of iteration 5 was waiting for the cycle's end at 8
    assert checkpoints(tmp_path) == ['iter_6.pth']
    assert 'gradients gathered since the last update are lost' in next(tmp_path.glob('*/*.log')).read_text()


def test_an_end_that_nobody_wants_saved(tmp_path):
    end = dict(type='EndAt', stage='after_train_iter', iteration=7)
    train(tmp_path, hooks=[end], checkpoint=dict(save_last=False))
    assert checkpoints(tmp_path) == ['iter_5.pth']


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


def test_the_first_score_may_be_the_one_that_counts(tmp_path):
    train(tmp_path, max_iters=8, checkpoint=dict(save_best='auto', interval=50), val_interval=4)
    scores = dict(log_of(tmp_path)['validation', 'target/mIoU'])
    best = max(scores, key=scores.get)
    assert checkpoints(tmp_path) == [f'best_target_mIoU_iter_{best}.pth', 'iter_8.pth']


def test_checkpoints_may_hold_weights_alone(tmp_path):
    train(tmp_path, max_iters=5, checkpoint=dict(save_optimizer=False))
    saved = load_checkpoint_file(str(tmp_path / 'iter_5.pth'))
    assert 'state_dict' in saved and not saved.keys() & {'optimizer', 'param_schedulers'}
    assert 'no run can go on from them' in next(tmp_path.glob('*/*.log')).read_text()
    with pytest.raises(CheckpointError, match='holds no training state'):
        find_resume_point(str(tmp_path))


def test_what_is_published_has_the_parts_asked_for_and_a_checksum(tmp_path):
    train(tmp_path, max_iters=5, val_interval=5, checkpoint=dict(save_best='target/mIoU', published_keys='state_dict'))
    names = [
        name for name in checkpoints(tmp_path) if re.fullmatch(r'(best_target_mIoU_)?iter_5-[0-9a-f]{8}.pth', name)
    ]
    assert len(names) == 2
    whole = load_checkpoint_file(str(tmp_path / 'iter_5.pth'))['state_dict']
    for name in names:
        published = load_checkpoint_file(str(tmp_path / name))
        assert list(published) == ['state_dict']
        assert_identical(published['state_dict'], whole)
    assert find_resume_point(str(tmp_path)).iteration == 5


def test_checkpoints_may_lie_elsewhere(tmp_path):
    """As with mmengine's hook; but a folder of one name below ``out_dir`` stays that of one run."""
    elsewhere, run = tmp_path / 'elsewhere', tmp_path / 'a' / 'seed0'
    settings = dict(checkpoint=dict(BEST, out_dir=str(elsewhere)))
    config = Config(dict(default_hooks=dict(checkpoint=settings['checkpoint']), train_cfg=dict(max_iters=20)))
    train(run, max_iters=10, **settings)
    assert checkpoints(run) == [] and 'iter_10.pth' in checkpoints(elsewhere / 'seed0')
    config.work_dir = str(run)
    assert launch.resume_point(config, 'auto', trusted=False).iteration == 10
    namesake = tmp_path / 'b' / 'seed0'
    config.work_dir = str(namesake)
    assert launch.resume_point(config, 'auto', trusted=False) is None
    with pytest.raises(FileExistsError, match=r'iter_10.pth.*that .*b/seed0 does not know'):
        train(namesake, **settings)
    train(run, load_from=str(elsewhere / 'seed0' / 'iter_10.pth'), max_iters=11, **settings)  # its own, begun anew
    assert 'iter_11.pth' in checkpoints(elsewhere / 'seed0')


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
        dict(save_best=['target/mIoU', 'target_mIoU']),  # one file for two scores
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
