"""tools/train.py, killed with SIGKILL and resumed, ends as if nothing had happened: bit for bit."""

import re
import signal
from pathlib import Path

import pytest

from cda_mmseg.engine.checkpointing import read_resume_point
from tests.engine.hooks.run_state import assert_identical, checkpoints, log_of, state_of
from tests.tool_processes import finish_tool, options, output_of, start_tool

ITERATIONS = 16
SCHEDULE = dict(
    train_cfg__max_iters=ITERATIONS,
    train_cfg__val_interval=4,
    default_hooks__checkpoint__interval=4,
    default_hooks__checkpoint__save_best='target/mIoU',
    # The rate, too, changes within the run.
    param_scheduler__encoder__0__milestones='[6,10]',
)


def train(work_dir: Path, worlds: Path, workers: int = 0, *arguments: str, death: tuple | None = None) -> int:
    arguments = ('--deterministic', *arguments, *options(workers, **SCHEDULE))
    return finish_tool(start_tool(work_dir, worlds, *arguments, death=death))


@pytest.fixture(scope='module')
def whole(smoke_worlds, tmp_path_factory):
    """A run that nothing happens to."""
    work_dir = tmp_path_factory.mktemp('whole') / 'run'
    assert train(work_dir, smoke_worlds) == 0, output_of(work_dir)[-3000:]
    return work_dir


def assert_same_run(work_dir: Path, whole: Path) -> None:
    assert checkpoints(work_dir) == checkpoints(whole)
    assert_identical(state_of(work_dir / f'iter_{ITERATIONS}.pth'), state_of(whole / f'iter_{ITERATIONS}.pth'))
    assert_identical(log_of(work_dir), log_of(whole), 'log')


def test_the_run_is_worth_comparing(whole):
    """Dropout and noise are on, all steps and scores are logged, the rate changes, and steps change every tensor."""
    config = (whole / 'cl_gta2city.py').read_text()
    assert 'noise_std=0.1' in config and 'deterministic=True' in config
    log = log_of(whole)
    assert [step for step, _ in log['training', 'decode.loss_seg']] == list(range(1, ITERATIONS + 1))
    assert [step for step, _ in log['validation', 'target/mIoU']] == [4, 8, 12, 16]
    assert len({rate for _, rate in log['training', 'encoder.lr']}) == 3
    last, before = (state_of(whole / f'iter_{step}.pth')['state_dict'] for step in (16, 12))
    assert [key for key, value in last.items() if value.equal(before[key])] == []


@pytest.mark.parametrize('workers', [0, 2])
def test_two_kills_leave_no_trace(whole, smoke_worlds, tmp_path, workers):
    """While a checkpoint is being written, and between a checkpoint and its validation."""
    work_dir = tmp_path / 'run'
    # Written, but not yet under its name.
    death = ('os.rename', 'iter_8.pth.incomplete', None)
    assert train(work_dir, smoke_worlds, workers, death=death) == -signal.SIGKILL
    assert [name for name in checkpoints(work_dir) if name.startswith('iter')] == [
        'iter_4.pth',
        'iter_8.pth.incomplete',
    ]

    # Under its name, but the pointer file still names the one before.
    death = ('os.rename', 'last_checkpoint.incomplete', str(work_dir / 'iter_12.pth'))
    assert train(work_dir, smoke_worlds, workers, '--resume', death=death) == -signal.SIGKILL
    assert (work_dir / 'last_checkpoint').read_text().endswith('iter_8.pth')
    assert [step for step, _ in log_of(work_dir)['validation', 'target/mIoU']] == [4, 8]

    assert train(work_dir, smoke_worlds, workers, '--resume') == 0, output_of(work_dir)[-3000:]
    output = output_of(work_dir)
    assert 'Removed iter_8.pth.incomplete' in output and 'The validation at iteration 12 did not take place' in output
    assert_same_run(work_dir, whole)


def test_deterministic_runs_are_identical(whole, smoke_worlds, tmp_path):
    """Twice in a row; the seed is in log and checkpoint."""
    assert train(tmp_path / 'again', smoke_worlds) == 0, output_of(tmp_path / 'again')[-3000:]
    assert_same_run(tmp_path / 'again', whole)
    assert re.search(r'\bseed: 0\b', next(whole.glob('*/*.log')).read_text())
    assert read_resume_point(str(whole / f'iter_{ITERATIONS}.pth')).seed == 0
