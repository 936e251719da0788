"""tools/dist_train.sh on real processes: their number changes, and one of them dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cda_mmseg.engine.checkpointing import find_resume_point
from tests.tool_processes import ROOT, SMOKE, finish_tool, options, output_of, start_tool


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def position_lines(work_dir: Path) -> list[dict]:
    files = sorted(work_dir.glob('positions.*.jsonl'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines() if line.endswith('}')]


def wait_for_iteration(work_dir: Path, iteration: int, rank: int, job: subprocess.Popen) -> int:
    """Wait until a rank has trained an iteration, and return its process id."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and job.poll() is None:
        for line in position_lines(work_dir):
            if line['world_size'] == 2 and line['rank'] == rank and line['iteration'] >= iteration:
                return line['pid']
        time.sleep(0.05)
    raise TimeoutError((work_dir.parent / 'job.txt').read_text()[-3000:])


def test_one_two_one_processes_and_the_death_of_one(smoke_worlds, tmp_path):
    """Every global position is used exactly once, whoever trains, and a dead process takes the job down at once."""
    work_dir = tmp_path / 'run'
    config = tmp_path / 'recorded.py'
    config.write_text(
        f'_base_ = {SMOKE!r}\n'
        "custom_imports = dict(imports=['cda_mmseg', 'tests.position_log'])\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='PositionLog')]\n"
    )
    schedule = options(train_cfg__max_iters=500, train_cfg__val_interval=1000, default_hooks__checkpoint__interval=4)

    death = ('os.rename', 'last_checkpoint.incomplete', str(work_dir / 'iter_4.pth'))
    assert (
        finish_tool(start_tool(work_dir, smoke_worlds, *schedule, config=str(config), death=death)) == -signal.SIGKILL
    )

    command = [str(ROOT / 'tools' / 'dist_train.sh'), str(config), '2', '--work-dir', str(work_dir), '--resume']
    environment = {**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT), 'PORT': str(free_port())}
    # Into a file: workers that outlive a time-out would hold a pipe open.
    with open(tmp_path / 'job.txt', 'w') as output:
        job = subprocess.Popen(
            [*command, *schedule], cwd=smoke_worlds, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            victim = wait_for_iteration(work_dir, 9, 1, job)
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            assert job.wait(60) == 1
            assert time.monotonic() - killed < 60
        finally:
            job.kill()
    output = (tmp_path / 'job.txt').read_text()
    assert 'This run goes on with 2 instead of 1 processes' in output
    # torchrun names the dead, the survivor what to do
    assert f'Signal 9 (SIGKILL) received by PID {victim}' in output
    assert 'Another process of this run is gone' in output and 'go on with --resume auto' in output
    resumed_at = find_resume_point(str(work_dir)).iteration
    assert resumed_at >= 8 and resumed_at % 4 == 0

    last = resumed_at + 3
    schedule = options(train_cfg__max_iters=last, train_cfg__val_interval=1000)
    assert finish_tool(start_tool(work_dir, smoke_worlds, '--resume', *schedule, config=str(config))) == 0
    assert 'This run goes on with 1 instead of 2 processes' in output_of(work_dir)

    # What a kill took back was trained again: the last session that trained an iteration counts.
    lines = sorted(position_lines(work_dir), key=lambda line: line['session'])
    sessions = {line['iteration']: line['session'] for line in lines}
    trained = [line for line in lines if line['session'] == sessions[line['iteration']] and line['iteration'] < last]
    total = 4 + 2 * (resumed_at - 4) + 3
    for domain in ('source', 'target'):
        assert sorted(position for line in trained for position in line[domain]) == list(range(total))
    assert find_resume_point(str(work_dir)).samples_consumed == dict(source=total, target=total)
