"""Finding where a run can go on, among files that were damaged since."""

import logging
import math
import os
import shutil
import signal
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader
from toy_training import train

from cda_mmseg.engine.checkpointing import find_resume_point, read_resume_point
from cda_mmseg.utils.loading import (
    CheckpointError,
    NonFiniteStateError,
    UnreadableCheckpointError,
    UnresumableCheckpointError,
    UntrustedCheckpointError,
)


@pytest.fixture(scope='module')
def finished_run(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('finished')
    former = CheckpointLoader._schemes.copy()
    train(work_dir, max_iters=15, checkpoint=dict(save_best='target/mIoU'))
    CheckpointLoader._schemes = former
    return work_dir


@pytest.fixture
def run(finished_run, tmp_path):
    """Copy the checkpoints 5, 10 and 15 of a run, which the pointer says is at 15."""
    work_dir = tmp_path / 'run'
    shutil.copytree(finished_run, work_dir, ignore=shutil.ignore_patterns('2*'))
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_15.pth'))
    return work_dir


@pytest.fixture
def warnings(caplog):
    """Collect what is reported; MMEngine's loggers do not hand on to the root logger."""
    records = []

    class Collector(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())

    logger, collector = MMLogger.get_current_instance(), Collector()
    logger.addHandler(collector)
    yield records
    logger.removeHandler(collector)


def damage(path, kind):
    content = path.read_bytes()
    if kind == 'truncated':
        path.write_bytes(content[: len(content) // 2])
    elif kind == 'empty':
        path.write_bytes(b'')
    elif kind == 'foreign':
        path.write_text('not a checkpoint')
    elif kind == 'weights only':
        shutil.copy(path.parent / 'best_target_mIoU_iter_15.pth', path)
    elif kind == 'flipped bit':
        weight = torch.load(path, weights_only=False)['state_dict']['first.weight']
        place = content.index(weight.numpy().tobytes())
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif kind == 'code':
        torch.save(dict(meta=torch.nn.Linear(1, 1)), path)
    elif kind == 'no iteration':
        checkpoint = torch.load(path, weights_only=False)
        del checkpoint['meta']['iter']
        torch.save(checkpoint, path)
    elif kind == 'weight that is NaN':
        checkpoint = torch.load(path, weights_only=False)
        checkpoint['state_dict']['second.weight'][0, 2] = math.nan
        torch.save(checkpoint, path)
    elif kind == 'infinite moment':
        checkpoint = torch.load(path, weights_only=False)
        checkpoint['optimizer']['first']['state'][1]['exp_avg_sq'][0] = math.inf
        torch.save(checkpoint, path)


DAMAGES = dict(
    [
        ('truncated', (UnreadableCheckpointError, 'iter_15.pth .* cannot be read as a checkpoint')),
        ('empty', (UnreadableCheckpointError, 'iter_15.pth is empty')),
        ('foreign', (UnreadableCheckpointError, 'iter_15.pth .* cannot be read as a checkpoint')),
        (
            'flipped bit',
            (UnreadableCheckpointError, 'iter_15.pth .* cannot be read as a checkpoint .the checksum of .*data/'),
        ),
        ('weights only', (UnresumableCheckpointError, r'iter_15.pth holds no training state \(optimizer missing\)')),
        ('no iteration', (UnresumableCheckpointError, 'iter_15.pth holds no training state .*meta.iter')),
        ('weight that is NaN', (NonFiniteStateError, r'iter_15.pth holds .* not finite: 1 of \d+ .* second\.weight\.')),
        ('infinite moment', (NonFiniteStateError, r'not finite: .* as optimizer\.first\.state\.1\.exp_avg_sq')),
        ('code', (UntrustedCheckpointError, 'iter_15.pth carries executable pickle')),
    ]
)


@pytest.mark.parametrize('kind', DAMAGES)
def test_a_damaged_newest_one_is_reported_and_the_one_before_used(run, warnings, kind):
    damage(run / 'iter_15.pth', kind)
    error, message = DAMAGES[kind]
    with pytest.raises(error, match=message):
        read_resume_point(str(run / 'iter_15.pth'))
    assert find_resume_point(str(run)).path == str(run / 'iter_10.pth')
    assert len(warnings) == 1
    assert 'iter_15.pth' in warnings[0]


def test_flipped_bits_in_the_directory_of_the_zip_are_passed_over(run, warnings):
    content = (run / 'iter_15.pth').read_bytes()
    with zipfile.ZipFile(run / 'iter_15.pth') as archive:
        start = archive.start_dir
    draw = np.random.default_rng(0)
    for place in draw.integers(start, len(content), 40):
        damaged = bytearray(content)
        damaged[place] ^= 1 << draw.integers(8)
        (run / 'iter_15.pth').write_bytes(damaged)
        assert find_resume_point(str(run)).iteration == 15 - 5 * len(warnings)
        warnings.clear()


OUT_OF_RANGE = [
    *(dict(iter=value) for value in (-1, True, 2**60, 1.5, '15', None)),
    *(dict(epoch=value) for value in (-1, '0')),
    *(dict(seed=value) for value in (-1, 2**32, 'seven')),
    *(dict(world_size=value) for value in (0, -1, 'two')),
    *(dict(samples_consumed=value) for value in (7, [7], dict(source=-1), dict(source='all'))),
]


@pytest.mark.parametrize('change', OUT_OF_RANGE, ids=str)
def test_a_state_that_no_run_can_be_in_is_passed_over(run, change):
    checkpoint = torch.load(run / 'iter_15.pth', weights_only=False)
    checkpoint['meta'].update(change)
    torch.save(checkpoint, run / 'iter_15.pth')
    with pytest.raises(
        UnresumableCheckpointError, match=rf'iter_15.pth cannot be resumed from: meta\.{list(change)[-1]}'
    ):
        read_resume_point(str(run / 'iter_15.pth'))
    assert find_resume_point(str(run)).iteration == 10


@pytest.mark.parametrize(
    ('place', 'named'),
    [
        (('meta', 'epoch'), 'meta.epoch'),
        (('message_hub', 'log_scalars'), 'message_hub.log_scalars'),
        (('message_hub',), 'message_hub'),
    ],
    ids=str,
)
def test_a_state_without_what_resuming_reads_is_passed_over(run, place, named):
    checkpoint = torch.load(run / 'iter_15.pth', weights_only=False)
    *parents, last = place
    holder = checkpoint[parents[0]] if parents else checkpoint
    holder[last] = 'nothing'
    if parents:
        del holder[last]
    torch.save(checkpoint, run / 'iter_15.pth')
    with pytest.raises(UnresumableCheckpointError, match=rf'holds no training state \({named} missing\)'):
        read_resume_point(str(run / 'iter_15.pth'))


@pytest.fixture
def no_waiting():
    """Interrupt whoever opens a named pipe."""

    def give_up(*_):
        raise TimeoutError('It waits.')

    former = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


def put(path, kind):
    """Put something in the place of a file that nobody must wait for."""
    path.unlink()
    if kind == 'a named pipe':
        os.mkfifo(path)
    elif kind == 'a folder':
        path.mkdir()
    elif kind == 'a link to nowhere':
        path.symlink_to('nowhere')
    else:
        path.symlink_to(path.name)


KINDS = ['a named pipe', 'a folder', 'a link to nowhere', 'a link to itself']


@pytest.mark.usefixtures('no_waiting')
@pytest.mark.parametrize('kind', KINDS)
def test_what_is_no_file_is_named_and_never_waited_for(run, warnings, kind):
    said = {'a link to itself': r'a link to iter_15\.pth \(Too many levels'}.get(kind, kind)
    put(run / 'iter_15.pth', kind)
    with pytest.raises(FileNotFoundError, match=rf'iter_15\.pth: {said}'):
        read_resume_point(str(run / 'iter_15.pth'))
    assert find_resume_point(str(run)).iteration == 10
    assert len(warnings) == 1 and kind.removesuffix(' to itself') in warnings[0]


@pytest.mark.usefixtures('no_waiting')
@pytest.mark.parametrize('kind', KINDS)
def test_a_pointer_that_is_no_file_is_named_and_never_waited_for(run, warnings, kind):
    put(run / 'last_checkpoint', kind)
    assert find_resume_point(str(run)).iteration == 15
    assert len(warnings) == 1 and f'last_checkpoint should be a file but is {kind[:9]}' in warnings[0]


def test_torch_alone_reads_a_flipped_bit_without_a_word(run):
    damage(run / 'iter_15.pth', 'flipped bit')
    torch.load(run / 'iter_15.pth', weights_only=False)


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wherever_it_was_truncated(run, share):
    content = (run / 'iter_10.pth').read_bytes()
    (run / 'iter_15.pth').write_bytes(content[: int(share * len(content))])
    assert find_resume_point(str(run)).iteration == 10


def test_reads_what_a_checkpoint_says(run):
    point = find_resume_point(str(run))
    assert (point.path, point.iteration, point.seed, point.world_size) == (str(run / 'iter_15.pth'), 15, 7, 1)


@pytest.mark.parametrize('pointer', ['lost', 'empty', 'binary', 'to nothing', 'to another folder'])
def test_needs_no_pointer(run, pointer):
    path = run / 'last_checkpoint'
    if pointer == 'lost':
        path.unlink()
    else:
        path.write_bytes(
            {'empty': b'', 'binary': b'\xff\xfe\x00', 'to nothing': b'gone.pth'}.get(pointer, b'/a/iter_99.pth')
        )
    assert find_resume_point(str(run)).iteration == 15


def test_a_kill_between_checkpoint_and_pointer_loses_nothing(run):
    (run / 'last_checkpoint').write_text(str(run / 'iter_10.pth'))
    assert find_resume_point(str(run)).iteration == 15


def test_longer_runs_that_were_there_before_do_not_count(run):
    (run / 'last_checkpoint').write_text(str(run / 'iter_10.pth'))
    os.utime(run / 'iter_15.pth', ns=(0, os.stat(run / 'iter_10.pth').st_mtime_ns - 1))
    assert find_resume_point(str(run)).iteration == 10


def test_follows_a_run_whose_folder_has_moved(run):
    moved = run.parent / 'moved'
    run.rename(moved)
    assert find_resume_point(str(moved)).path == str(moved / 'iter_15.pth')


def test_nothing_to_go_on_from(tmp_path):
    assert find_resume_point(str(tmp_path / 'missing')) is None
    (tmp_path / 'best_target_mIoU_iter_5.pth').touch()
    (tmp_path / 'iter_5.pth.incomplete').touch()
    (tmp_path / 'my_iter_5.pth').touch()
    assert find_resume_point(str(tmp_path)) is None


def test_does_not_start_anew_when_all_are_damaged(run):
    for name in ('iter_5.pth', 'iter_10.pth', 'iter_15.pth'):
        damage(run / name, 'truncated')
    with pytest.raises(CheckpointError, match=r'None of the checkpoints .*iter_15.pth, iter_10.pth, iter_5.pth'):
        find_resume_point(str(run))


def test_code_is_run_for_those_who_trust_it(run):
    checkpoint = torch.load(run / 'iter_15.pth', weights_only=False)
    checkpoint['meta']['module'] = torch.nn.Linear(1, 1)
    torch.save(checkpoint, run / 'iter_15.pth')
    assert find_resume_point(str(run)).iteration == 10
    assert find_resume_point(str(run), trusted=True).iteration == 15


def test_a_zip_file_that_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / 'iter_1.pth', 'w') as archive:
        archive.writestr('notes.txt', 'hello')
    with pytest.raises(UnreadableCheckpointError, match=r'iter_1\.pth'):
        read_resume_point(str(tmp_path / 'iter_1.pth'))
    with pytest.raises(FileNotFoundError, match=r'iter_2\.pth'):
        read_resume_point(str(tmp_path / 'iter_2.pth'))
