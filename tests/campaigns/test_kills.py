"""Twenty kills at random moments of a run of tools/train.py leave no trace."""

import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests.engine.hooks.run_state import assert_identical, checkpoints, log_of, state_of
from tests.tool_processes import finish_tool, options, output_of, start_tool, wait_until

ITERATIONS = 150
SCHEDULE = dict(
    train_cfg__max_iters=ITERATIONS,
    train_cfg__val_interval=10,
    default_hooks__checkpoint__interval=5,
    default_hooks__checkpoint__save_best='target/mIoU',
    param_scheduler__encoder__0__milestones='[50,100]',
)
KILLS = ['anywhere'] * 8 + ['starting'] * 2 + ['writing'] * 5 + ['before validation'] * 5


@pytest.fixture(scope='module')
def whole(smoke_worlds, tmp_path_factory):
    """A run that nothing happens to."""
    work_dir = tmp_path_factory.mktemp('whole') / 'run'
    process = start_tool(work_dir, smoke_worlds, '--deterministic', *options(0, **SCHEDULE))
    assert finish_tool(process) == 0, output_of(work_dir)[-3000:]
    return work_dir


def steps_logged(work_dir: Path) -> int:
    return sum(file.read_bytes().count(b'\n') for file in work_dir.glob('*/vis_data/scalars.json'))


def newest(work_dir: Path) -> int:
    return max((int(path.stem.removeprefix('iter_')) for path in work_dir.glob('iter_*.pth')), default=0)


def wait_for_moment(moment: str, work_dir: Path, process: ForkServerProcess, chance: random.Random) -> None:
    """Wait for a kind of moment; what exactly happens there is up to the two processes' race."""
    if moment == 'starting':
        time.sleep(chance.uniform(0, 3))
    elif moment == 'writing':
        wait_until(lambda: any(work_dir.glob('iter_*.pth.incomplete')), process)
    elif moment == 'before validation':
        before = newest(work_dir)
        wait_until(lambda: newest(work_dir) > before and newest(work_dir) % 10 == 0, process)
    else:
        begin = steps_logged(work_dir)
        steps = chance.randint(1, 12)
        wait_until(lambda: steps_logged(work_dir) >= begin + steps, process)
        time.sleep(chance.uniform(0, 0.1))


@pytest.mark.campaign
@pytest.mark.parametrize('workers', [0, 2])
def test_twenty_kills_leave_no_trace(whole, smoke_worlds, tmp_path, workers):
    """Also while a checkpoint is being written, and between a checkpoint and its validation."""
    chance = random.Random(workers)
    moments = chance.sample(KILLS, len(KILLS))
    work_dir = tmp_path / 'run'
    arguments = ('--deterministic', '--resume', *options(workers, **SCHEDULE))
    found = []
    for moment in moments:
        process = start_tool(work_dir, smoke_worlds, *arguments)
        wait_for_moment(moment, work_dir, process, chance)
        process.kill()
        assert finish_tool(process) == -signal.SIGKILL, output_of(work_dir)[-3000:]
        incomplete = any(name.endswith('.incomplete') for name in checkpoints(work_dir))
        found.append((moment, newest(work_dir), 'half-written checkpoint' if incomplete else ''))
    assert finish_tool(start_tool(work_dir, smoke_worlds, *arguments)) == 0, output_of(work_dir)[-3000:]
    print(f'{workers} workers:', *found, sep='\n')

    assert len(found) == 20
    # The races were won at least once each.
    assert any(incomplete for _, _, incomplete in found)
    assert 'did not take place before' in output_of(work_dir)
    assert checkpoints(work_dir) == checkpoints(whole)
    assert_identical(state_of(work_dir / f'iter_{ITERATIONS}.pth'), state_of(whole / f'iter_{ITERATIONS}.pth'))
    assert_identical(log_of(work_dir), log_of(whole), 'log')
