"""What every tool promises: quick help, exit codes, and one line for a mistake of the user."""

import ast
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader, Dataset

from cda_mmseg import launch
from cda_mmseg.datasets.preparation.encoding import FORMATS
from cda_mmseg.datasets.worlds import PAIRS
from cda_mmseg.engine.checkpointing.released_weights import FAMILIES, NETWORKS
from cda_mmseg.explained_errors import explained_errors
from cda_mmseg.inference import KINDS
from cda_mmseg.paper.experiments import READINGS
from cda_mmseg.paper.loss_figures import LOSS_FIGURES
from cda_mmseg.paper.tables import TABLES
from tests.tool_processes import ROOT, SMOKE

TOOLS = sorted((ROOT / 'tools').glob('*.py'))
EACH_TOOL = pytest.mark.parametrize('tool', TOOLS, ids=lambda tool: tool.stem)

# Arguments that give two things one name.
ONE_NAME = {
    'figures': (
        ['fig4', '--before', 'a.py', 'a.pth', '--after', 'b.py', 'b.pth', '--titles', 'same', 'same'],
        "both models are called 'same'",
    ),
}

# Arguments that name something that is not there; None for a tool that reads no file.
MISSING = {
    'browse_data': ['nowhere.py'],
    'check_data': ['nowhere.py'],
    'choose_snapshot': ['nowhere.py', 'run'],
    'convert_checkpoint': ['daformer', 'nowhere.pth', '--out', 'out.pth'],
    'demo': None,
    'figures': ['fig2', 'nowhere.py'],
    'gradient_sizes': ['nowhere.py', 'weights.pth'],
    'make_worlds': ['--out', '/proc/nowhere'],
    'new_pair': [
        *('--source-images', 'nowhere', '--source-labels', 'nowhere', '--target-images', 'nowhere'),
        *('--classes', 'road', '--name', 'a'),
    ],
    'paper': ['table1', '--data', 'nowhere', '--no-train'],
    'predict': ['nowhere', '--config', 'config.py', '--checkpoint', 'weights.pth', '--out', 'out'],
    'prepare_data': ['nowhere.py', '--domain', 'source', '--out', 'out'],
    'publish_model': ['nowhere.pth', '--out', 'out'],
    'report': ['a=nowhere', '--out', 'out.html'],
    'sweep': ['nowhere.py', '--out', 'out'],
    'test': ['nowhere.py', 'weights.pth'],
    'train': ['nowhere.py'],
}


def run(tool: Path, *arguments: str) -> tuple[int, str, str, float]:
    """Run a tool in a process of its own; return exit code, output, errors and seconds of CPU."""
    before = os.times()
    done = subprocess.run([sys.executable, str(tool), *arguments], capture_output=True, text=True, check=False)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return done.returncode, done.stdout, done.stderr, seconds


@pytest.mark.parametrize('tool', ONE_NAME)
def test_two_things_of_one_name_are_refused(tool):
    arguments, message = ONE_NAME[tool]
    code, _, errors, _ = run(ROOT / 'tools' / f'{tool}.py', *arguments)
    assert code == 2 and message in errors.splitlines()[-1]


@EACH_TOOL
def test_help_is_quick(tool):
    code, output, errors, seconds = run(tool, '--help')
    assert code == 0 and output.startswith('usage: ') and not errors
    assert seconds <= 1


@EACH_TOOL
def test_wrong_arguments_end_with_2(tool):
    code, _, errors, _ = run(tool, '--no-such-option')
    assert code == 2 and errors.startswith('usage: ') and 'Traceback' not in errors


@EACH_TOOL
def test_a_missing_file_is_one_line(tool, tmp_path, monkeypatch, capfd):
    arguments = MISSING[tool.stem]
    if arguments is None:
        pytest.skip('it reads no file')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [str(tool), *arguments])
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name='__main__')
    errors = capfd.readouterr().err.splitlines()
    assert end.value.code == 1
    assert len(errors) == 1 and errors[0].startswith(f'{tool.name}: ') and 'nowhere' in errors[0]


@EACH_TOOL
def test_a_tool_is_short(tool):
    assert len(tool.read_text().splitlines()) <= 120


@pytest.mark.parametrize(
    ('tool', 'name', 'choices'),
    [
        ('convert_checkpoint', 'FAMILIES', FAMILIES),
        ('convert_checkpoint', 'NETWORKS', NETWORKS),
        ('figures', 'LOSS_FIGURES', LOSS_FIGURES),
        ('make_worlds', 'PAIRS', PAIRS),
        ('paper', 'TABLES', TABLES),
        ('paper', 'READINGS', READINGS),
        ('predict', 'KINDS', KINDS),
        ('prepare_data', 'FORMATS', FORMATS),
    ],
)
def test_choices_are_those_of_the_package(tool, name, choices):
    """Tools write them out, because importing them would take longer than help may."""
    for statement in ast.parse((ROOT / 'tools' / f'{tool}.py').read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == name:
            assert ast.literal_eval(statement.value) == tuple(choices)
            return
    raise AssertionError(f'{tool}.py has no {name}')


@pytest.mark.parametrize('wrong', [('--baseline', 'no_arm'), ('--oracle', 'no_arm'), ('--jobs', '0')])
def test_a_sweep_is_not_begun_for_a_table_that_it_cannot_have(wrong, tmp_path, monkeypatch, capsys):
    (tmp_path / 'arm.py').touch()
    (tmp_path / 'sweep.py').write_text("arms = dict(one=dict(config='arm.py'))\nseeds = [0]\n")
    monkeypatch.setattr(sys, 'argv', ['sweep.py', str(tmp_path / 'sweep.py'), '--out', str(tmp_path / 'out'), *wrong])
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / 'tools' / 'sweep.py'), run_name='__main__')
    errors = capsys.readouterr().err
    assert end.value.code == 2 and f'{wrong[0]} must be' in errors and 'Traceback' not in errors
    assert not (tmp_path / 'out').exists()


def test_a_sweep_that_is_stopped_saves_and_goes_on(smoke_worlds, tmp_path):
    config = tmp_path / 'arm.py'
    config.write_text(
        f'_base_ = {SMOKE!r}\ntrain_cfg = dict(max_iters=100000, val_interval=100000)\n'
        'default_hooks = dict(logger=dict(interval=1))\n'
    )
    sweep = tmp_path / 'sweep.py'
    sweep.write_text("arms = dict(one=dict(config='arm.py'), two=dict(config='arm.py'))\nseeds = [0]\n")
    command = [sys.executable, str(ROOT / 'tools' / 'sweep.py'), str(sweep), '--out', str(tmp_path / 'out')]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen(command, cwd=smoke_worlds, env=environment, stderr=subprocess.PIPE, text=True)
    output = tmp_path / 'out' / 'one' / 'seed0' / 'output.txt'
    deadline = time.monotonic() + 600
    while not (output.is_file() and 'Iter(train)' in output.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=600)
    assert process.returncode == os.EX_TEMPFAIL
    assert errors.splitlines() == ['Stopped; the runs under way have saved. The same command goes on from there.']
    assert 'which are saved in' in output.read_text() and list(output.parent.glob('iter_*.pth'))
    assert not (tmp_path / 'out' / 'two').exists()


def test_a_sweep_whose_run_is_stopped_says_so_and_can_go_on(smoke_worlds, tmp_path):
    (tmp_path / 'arm.py').write_text(
        f'_base_ = {SMOKE!r}\ntrain_cfg = dict(max_iters=100000, val_interval=100000)\n'
        'default_hooks = dict(logger=dict(interval=1))\n'
    )
    sweep = tmp_path / 'sweep.py'
    sweep.write_text("arms = dict(one=dict(config='arm.py'))\nseeds = [0]\n")
    command = [sys.executable, str(ROOT / 'tools' / 'sweep.py'), str(sweep), '--out', str(tmp_path / 'out')]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen(command, cwd=smoke_worlds, env=environment, stderr=subprocess.PIPE, text=True)
    output = tmp_path / 'out' / 'one' / 'seed0' / 'output.txt'
    deadline = time.monotonic() + 600
    while not (output.is_file() and 'Iter(train)' in output.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    (run,) = {
        int(pid) for path in Path(f'/proc/{process.pid}/task').glob('*/children') for pid in path.read_text().split()
    }
    os.kill(run, signal.SIGTERM)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == os.EX_TEMPFAIL
    assert errors.splitlines()[0] == '1 of 1 runs were stopped:' and 'The same command goes on' in errors
    # the table is written from what is finished, here nothing
    assert (tmp_path / 'out' / 'table.md').is_file() and not (output.parent / 'result.json').exists()


class Damaged(Dataset):
    """Fails in a worker, as a damaged file does."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise ValueError('a.png: truncated')


def end_of(error, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end, explained_errors():
        error()
    return end.value.code, capsys.readouterr().err


def test_errors_that_explain_themselves_lose_their_traceback(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])
    MMLogger.get_instance('explained', log_file=str(tmp_path / 'log'))
    assert end_of((tmp_path / 'nowhere').read_bytes, capsys) == (
        1,
        f"train.py: [Errno 2] No such file or directory: '{tmp_path}/nowhere'\n",
    )
    wrong_key = {'model.decode_heads.num_classes': 3}
    code, message = end_of(lambda: launch.load_config(SMOKE, wrong_key, None, 'none'), capsys)
    assert code == 1 and message.startswith('train.py: --cfg-options model.decode_heads.num_classes: model has no')
    assert end_of(lambda: next(iter(DataLoader(Damaged(), num_workers=1))), capsys) == (
        1,
        'train.py: a.png: truncated\n',
    )
    assert end_of(lambda: launch.read_options(['a.b=1', 'c.d']), capsys) == (
        2,
        'train.py: --cfg-options c.d: write KEY=VALUE, without spaces around the =.\n',
    )
    log = (tmp_path / 'log').read_text()
    assert log.count('Traceback') >= 3 and "has no 'decode_heads'" in log


@pytest.mark.parametrize('fault', [lambda: 1 / 0, lambda: None + 1, lambda: torch.ones(2) @ torch.ones(3)])
def test_faults_of_the_program_keep_theirs(fault, tmp_path):
    MMLogger.get_instance(f'fault_{tmp_path}', log_file=str(tmp_path / 'log'))
    with pytest.raises((ZeroDivisionError, TypeError, RuntimeError)), explained_errors():
        fault()
    assert 'Traceback' in (tmp_path / 'log').read_text()
