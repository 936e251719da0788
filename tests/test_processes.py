"""tools/dist_train.sh on real processes: on two machines, their number changes, they are stopped, and one dies."""

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
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


def is_alive(pid: int) -> bool:
    """Tell whether a process that somebody else waits for is running."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def recorded_config(folder: Path) -> str:
    """Write a smoke config whose runs say what they train on and how they end."""
    path = folder / 'recorded.py'
    path.write_text(
        f'_base_ = {SMOKE!r}\n'
        "custom_imports = dict(imports=['cda_mmseg.registration', 'tests.position_log', 'tests.ending_log'])\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='PositionLog')]\n"
    )
    return str(path)


@contextmanager
def started_job(output: Path, folder: Path, config: str, processes: int, *arguments: str, **variables: object):
    """Start ``tools/dist_train.sh CONFIG N ARGUMENTS`` in a folder; its output ends up in a file.

    A pipe would be held open by workers that outlive a time-out.
    """
    command = [str(ROOT / 'tools' / 'dist_train.sh'), config, str(processes), *arguments]
    environment = {**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT), 'PORT': str(free_port())}
    environment.update({name: str(value) for name, value in variables.items()})
    with open(output, 'w') as file:
        job = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield job
    finally:
        # torchrun ends its workers on SIGTERM, on SIGKILL it cannot
        job.terminate()
        try:
            job.wait(600)
        finally:
            job.kill()


def wait_for_iteration(work_dir: Path, iteration: int, rank: int, job: subprocess.Popen, output: Path) -> int:
    """Wait until a rank of two has trained an iteration, and return its process id."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and job.poll() is None:
        for line in position_lines(work_dir):
            if line['world_size'] == 2 and line['rank'] == rank and line['iteration'] >= iteration:
                return line['pid']
        time.sleep(0.05)
    raise TimeoutError(output.read_text()[-3000:])


def test_one_two_one_processes_and_the_death_of_one(smoke_worlds, tmp_path):
    """Every global position is used exactly once, whoever trains, and a dead process takes the job down at once."""
    work_dir, config = tmp_path / 'run', recorded_config(tmp_path)
    schedule = options(train_cfg__max_iters=500, train_cfg__val_interval=1000, default_hooks__checkpoint__interval=4)

    death = ('os.rename', 'last_checkpoint.incomplete', str(work_dir / 'iter_4.pth'))
    first = start_tool(work_dir, smoke_worlds, *schedule, config=config, death=death)
    assert finish_tool(first) == -signal.SIGKILL

    output = tmp_path / 'job.txt'
    arguments = ('--work-dir', str(work_dir), '--resume', *schedule)
    with started_job(output, smoke_worlds, config, 2, *arguments) as job:
        victim = wait_for_iteration(work_dir, 9, 1, job, output)
        os.kill(victim, signal.SIGKILL)
        assert job.wait(300) == 1
    output = output.read_text()
    assert 'This run goes on with 2 instead of 1 processes' in output
    # torchrun names the dead, the survivor what to do
    assert f'Signal 9 (SIGKILL) received by PID {victim}' in output
    assert 'Another process of this run is gone' in output and 'go on with --resume auto' in output
    resumed_at = find_resume_point(str(work_dir)).iteration
    assert resumed_at >= 8 and resumed_at % 4 == 0

    last = resumed_at + 3
    schedule = options(train_cfg__max_iters=last, train_cfg__val_interval=1000)
    assert finish_tool(start_tool(work_dir, smoke_worlds, '--resume', *schedule, config=config)) == 0
    assert 'This run goes on with 1 instead of 2 processes' in output_of(work_dir)

    # What a kill took back was trained again: the last session that trained an iteration counts.
    lines = sorted(position_lines(work_dir), key=lambda line: line['session'])
    sessions = {line['iteration']: line['session'] for line in lines}
    trained = [line for line in lines if line['session'] == sessions[line['iteration']] and line['iteration'] < last]
    total = 4 + 2 * (resumed_at - 4) + 3
    for domain in ('source', 'target'):
        assert sorted(position for line in trained for position in line[domain]) == list(range(total))
    assert find_resume_point(str(work_dir)).samples_consumed == dict(source=total, target=total)


def test_processes_whose_torchrun_is_killed_save_and_end(smoke_worlds, tmp_path, short_folder):
    """A second run is kept out while they live, and goes on once they are gone; no file is left elsewhere."""
    work_dir, config = tmp_path / 'run', recorded_config(tmp_path)
    # sockets do not take the long path of a folder below tmp_path
    here, temporary = tmp_path / 'here', short_folder
    here.mkdir()
    (here / 'data').symlink_to(smoke_worlds / 'data')
    schedule = options(workers=1, train_cfg__max_iters=5000, train_cfg__val_interval=4)
    arguments = ('--work-dir', str(work_dir), *schedule, 'default_hooks.checkpoint.interval=4')
    output, second = tmp_path / 'job.txt', tmp_path / 'second.txt'
    with started_job(output, here, config, 2, *arguments, TMPDIR=temporary) as job:
        pids = [wait_for_iteration(work_dir, 6, rank, job, output) for rank in range(2)]
        with started_job(second, here, config, 2, *arguments, '--resume', TMPDIR=temporary) as refused:
            assert refused.wait(300) == 1
        assert f'train.py: {work_dir} is in use by process {pids[0]} on ' in second.read_text()
        job.kill()
        deadline = time.monotonic() + 600
        while any(map(is_alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert not any(map(is_alive, pids))
    stopped = find_resume_point(str(work_dir)).iteration
    assert f'Stopped by a signal after {stopped} iterations' in output.read_text()
    lines = position_lines(work_dir)
    assert {max(line['iteration'] for line in lines if line['rank'] == rank) + 1 for rank in range(2)} == {stopped}

    schedule = options(train_cfg__max_iters=stopped + 1, train_cfg__val_interval=100)
    assert finish_tool(start_tool(work_dir, here, '--resume', *schedule, config=config)) == 0, output_of(work_dir)
    # torch makes one folder per user for its compiler, used or not
    assert {path.name for path in temporary.iterdir()} <= {f'torchinductor_{getpass.getuser()}'}
    assert [path.name for path in here.iterdir()] == ['data']


def test_two_machines_then_one_that_is_asked_to_stop(smoke_worlds, tmp_path):
    """The documented commands, with both machines on this one; every process leaves in order."""
    work_dir, config = tmp_path / 'run', recorded_config(tmp_path)
    arguments = ('--work-dir', str(work_dir), *options(train_cfg__max_iters=4, train_cfg__val_interval=4))
    address = dict(NNODES=2, MASTER_ADDR='127.0.0.1', PORT=free_port())
    outputs = [tmp_path / f'machine{rank}.txt' for rank in range(2)]
    with (
        started_job(outputs[0], smoke_worlds, config, 1, *arguments, **address, NODE_RANK=0) as first,
        started_job(outputs[1], smoke_worlds, config, 1, *arguments, **address, NODE_RANK=1) as second,
    ):
        assert [first.wait(600), second.wait(60)] == [0, 0], outputs[0].read_text()[-3000:]
    assert [line['rank'] for line in position_lines(work_dir)] == [0] * 4 + [1] * 4
    assert [output.read_text().count(f'Rank {rank} leaves with 0 reducers') for rank, output in enumerate(outputs)] == [
        1,
        1,
    ]
    # one process speaks for all, and what it scored is what both have computed
    assert [output.read_text().count('Last checkpoint: ') for output in outputs] == [1, 0]
    assert len(list(work_dir.glob('*/vis_data/scalars.json'))) == 1
    assert find_resume_point(str(work_dir)).world_size == 2

    output = tmp_path / 'job.txt'
    arguments = ('--work-dir', str(work_dir), '--resume', *options(train_cfg__max_iters=5000))
    with started_job(output, smoke_worlds, config, 2, *arguments) as job:
        wait_for_iteration(work_dir, 8, 1, job, output)
        job.send_signal(signal.SIGTERM)
        job.wait(600)
    point = find_resume_point(str(work_dir))
    lines = position_lines(work_dir)
    assert [max(line['iteration'] for line in lines if line['rank'] == rank) + 1 for rank in range(2)] == [
        point.iteration
    ] * 2
    assert point.samples_consumed == dict(source=2 * point.iteration, target=2 * point.iteration)
    assert f'Stopped by a signal after {point.iteration} iterations' in output.read_text()
    assert [output.read_text().count(f'Rank {rank} leaves with 0 reducers') for rank in range(2)] == [1, 1]
