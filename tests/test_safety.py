"""What files, options and arguments from elsewhere cannot do: run code, reach a shell, or write where nobody asked."""

import contextlib
import getpass
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import matplotlib
import pytest
import torch
from mmseg.apis import init_model

from cda_mmseg.utils.loading import load_checkpoint_file
from tests.forked_processes import ROOT, start_process
from tests.tool_processes import SMOKE, finish_tool, options, output_of, start_tool

NO_WORKERS = options()
RAN = 'the_code_has_run'
END_OF_TOOL = '=== the tool has ended ==='
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    'open': (1, None),
    'os.mkdir': (1, 2),
    'os.remove': (1, 1),
    'os.rmdir': (1, 1),
    'os.rename': (2, 2),
    'os.link': (2, 2),
    'os.symlink': (2, 2),
}
"""Audit events that change files: how many paths they begin with, and which argument is a folder's descriptor."""


class Shell:
    """Run a shell command when unpickled by a reader that allows it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def record_writes(listing: str) -> None:
    """Write down every path that this process and those forked from it make, open for writing, move or remove."""
    descriptor = os.open(listing, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def record(event: str, arguments: tuple) -> None:
        count, descriptor_index = CHANGES.get(event, (0, None))
        if event == 'open' and (isinstance(arguments[0], int) or not arguments[2] & CHANGING):
            count = 0
        for path in arguments[:count]:
            # a name alone may be meant within a folder that is open
            folder = arguments[descriptor_index] if descriptor_index else -1
            start = os.getcwd() if folder == -1 else os.readlink(f'/proc/self/fd/{folder}')
            os.write(descriptor, os.fsencode(os.path.abspath(os.path.join(start, os.fsdecode(path)))) + b'\n')

    sys.addaudithook(record)


def run_tools(
    output: str, folder: str, commands: list[tuple], listing: str | None = None, shall_fail: bool = False
) -> None:
    """Run tools one after the other inside this process, as their users do, up to one that does not end as it shall."""
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    sys.dont_write_bytecode = True
    if listing is not None:
        # mmengine reads configs from copies that it makes there
        tempfile.tempdir = os.path.join(os.path.dirname(listing), 'temporary')
        os.mkdir(tempfile.tempdir)
        record_writes(listing)
    for tool, *arguments in commands:
        sys.argv = [tool, *map(str, arguments)]
        try:
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
            failed = False
        except SystemExit as end:
            failed = end.code not in (None, 0)
            print(end.code)
        except Exception:
            failed = True
            traceback.print_exc()
        print(END_OF_TOOL, flush=True)
        sys.stderr.flush()
        if failed != shall_fail:
            os._exit(1)


def load_with_mmseg(output: str, folder: str, checkpoint: str) -> None:
    """Read a checkpoint as programs other than our tools do."""
    os.chdir(folder)
    with open(output, 'w') as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        init_model(SMOKE, checkpoint, device='cpu')


def in_a_process(function, *arguments) -> int:
    """Call a function in a process that has imported everything and changed nothing."""
    return finish_tool(start_process(function, *arguments))


@pytest.fixture(scope='module')
def trained(smoke_worlds, tmp_path_factory):
    """A run of the smoke config."""
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    schedule = options(train_cfg__max_iters=2, train_cfg__val_interval=2)
    assert finish_tool(start_tool(work_dir, smoke_worlds, *schedule)) == 0, output_of(work_dir)[-3000:]
    return work_dir


def copy_of(trained: Path, work_dir: Path, change) -> Path:
    """Copy a run, and change what its checkpoint holds."""
    shutil.copytree(trained, work_dir)
    checkpoint = work_dir / 'iter_2.pth'
    (work_dir / 'last_checkpoint').write_text(str(checkpoint))
    content = torch.load(checkpoint, weights_only=False)
    change(content)
    torch.save(content, checkpoint)
    return work_dir


@pytest.fixture
def run(trained, tmp_path):
    """A copy of that run whose checkpoint, sound otherwise, carries code."""
    return copy_of(trained, tmp_path / 'run', lambda content: content.update(notes=Shell(tmp_path / RAN)))


WAYS = {
    'train resume': lambda run, config: ('train.py', SMOKE, '--work-dir', run, f'--resume={run}/iter_2.pth'),
    'train resume auto': lambda run, config: ('train.py', SMOKE, '--work-dir', run, '--resume'),
    'train resume=True': lambda run, config: ('train.py', SMOKE, '--work-dir', run, *NO_WORKERS, 'resume=True'),
    'train resume=True load_from': lambda run, config: (
        *('train.py', SMOKE, '--work-dir', run.parent / 'new'),
        *(*NO_WORKERS, 'resume=True', f'load_from={run}/iter_2.pth'),
    ),
    'train branch-from': lambda run, config: (
        *('train.py', SMOKE, '--work-dir', run.parent / 'new', f'--branch-from={run}/iter_2.pth'),
        *(*NO_WORKERS, 'train_cfg.max_iters=9'),
    ),
    'train load_from': lambda run, config: (
        *('train.py', SMOKE, '--work-dir', run.parent / 'new'),
        *(*NO_WORKERS, f'load_from={run}/iter_2.pth'),
    ),
    'train initial weights': lambda run, config: ('train.py', config, '--work-dir', run.parent / 'new', *NO_WORKERS),
    'test': lambda run, config: ('test.py', SMOKE, run / 'iter_2.pth', '--work-dir', run.parent / 'new', *NO_WORKERS),
    'figures fig2': lambda run, config: ('figures.py', 'fig2', SMOKE, run / 'iter_2.pth', '--out', run.parent / 'new'),
    'figures fig4': lambda run, config: (
        *('figures.py', 'fig4', '--before', SMOKE, run / 'iter_2.pth'),
        *('--after', SMOKE, run / 'iter_2.pth', '--out', run.parent / 'new'),
    ),
    'gradient_sizes': lambda run, config: ('gradient_sizes.py', SMOKE, run / 'iter_2.pth', '--batches', 1),
    'report': lambda run, config: ('report.py', f'adapted={run}', '--out', run.parent / 'report.html'),
    'predict': lambda run, config: (
        *('predict.py', 'data/worlds/smoke_gta2city/gtav/images', '--config', SMOKE),
        *('--checkpoint', run / 'iter_2.pth', '--out', run.parent / 'new'),
    ),
    'choose_snapshot': lambda run, config: ('choose_snapshot.py', SMOKE, run, '--out', run.parent / 'new', *NO_WORKERS),
}
"""Every way on which somebody hands a checkpoint to a tool."""

OTHERS = {
    'make_worlds.py': 'reads no checkpoint',
    'prepare_data.py': 'reads no checkpoint',
    'check_data.py': 'reads no checkpoint',
    'browse_data.py': 'reads no checkpoint',
    'new_pair.py': 'reads no checkpoint',
    'convert_checkpoint.py': 'reads weights of other programs: tests/engine/checkpointing/test_released_weights.py',
    'demo.py': 'reads those of its own runs, as report.py does',
    'paper.py': 'reads those of its own runs, as gradient_sizes.py does',
    'publish_model.py': 'what it refuses: tests/inference/test_publish.py',
    'sweep.py': 'starts train.py, which reads those of its own runs',
}


def test_every_tool_is_looked_at():
    looked_at = {way(Path('run'), 'config')[0] for way in WAYS.values()} | set(OTHERS)
    assert {path.name for path in (ROOT / 'tools').glob('*.py')} <= looked_at


def spoil(checkpoint: Path, how: str, marker: Path) -> None:
    """Make something else of the checkpoint of a run."""
    content = torch.load(checkpoint, weights_only=False)
    if how == 'code':
        torch.save({**content, 'notes': Shell(marker)}, checkpoint)
    elif how == 'a flipped bit':
        weight = content['state_dict']['backbone.features.2.weight'].numpy().tobytes()
        data = bytearray(checkpoint.read_bytes())
        data[data.index(weight) + 3] ^= 0x40
        checkpoint.write_bytes(data)
    elif how == 'a missing weight':
        del content['state_dict']['decode_head.skip_scores.0.weight']
        torch.save(content, checkpoint)
    else:
        checkpoint.unlink()
        os.mkfifo(checkpoint)


REFUSALS = {
    'code': r'{} carries executable pickle \(\w+\.system\); .*--trust-checkpoint',
    'a flipped bit': r'{} \(\d+ bytes\) cannot be read as a checkpoint \(the checksum of \S+ is wrong\)',
    'a missing weight': r'{} fits \w+ only partly \(misfits: 1\): decode_head\S+ is missing',
    'a named pipe': r'There is no checkpoint {}: a named pipe',
}


@pytest.mark.parametrize('spoilt', REFUSALS)
def test_a_spoilt_checkpoint_is_refused_on_every_way(trained, smoke_worlds, tmp_path, spoilt):
    run = copy_of(trained, tmp_path / 'run', lambda content: None)
    checkpoint, config, output = run / 'iter_2.pth', tmp_path / 'pretrained.py', tmp_path / 'output.txt'
    spoil(checkpoint, spoilt, tmp_path / RAN)
    weights = dict(_delete_=True, type='Pretrained', checkpoint=str(checkpoint))
    config.write_text(f'_base_ = {SMOKE!r}\nmodel = dict(backbone=dict(init_cfg={weights}))\n')
    # initial weights are those of the backbone alone
    ways = [way for way in WAYS if spoilt != 'a missing weight' or way != 'train initial weights']
    commands = [WAYS[way](run, str(config)) for way in ways]
    code = in_a_process(run_tools, str(output), str(smoke_worlds), commands, None, True)
    assert code == 0, output.read_text()[-3000:]
    outputs = output.read_text().split(END_OF_TOOL)[:-1]
    refusal = re.compile(REFUSALS[spoilt].format(re.escape(str(checkpoint))))
    assert [way for way, text in zip(ways, outputs, strict=True) if not refusal.search(text)] == []
    assert not (tmp_path / RAN).exists()


MEANT_TO_BE_RUN = {
    'resume': ['--resume={run}/iter_2.pth', *options()],
    'resume auto': ['--resume', *options()],
    'resume=True': [*options(), 'resume=True'],
    'resume=True load_from': [*options(), 'resume=True', 'load_from={run}/iter_2.pth'],
    'load_from': [*options(), 'load_from={run}/iter_2.pth'],
}
"""Options of train.py that lead to mmengine's reading of a checkpoint, which runs a config it finds there."""


@pytest.mark.parametrize('trusted', [False, True])
def test_a_config_in_a_checkpoint_is_text_unless_trusted(trained, smoke_worlds, tmp_path, trusted):
    """A file of plain texts and tensors, which no reader of pickles has anything against."""
    # one is enough to see that the text would run
    ways = dict(list(MEANT_TO_BE_RUN.items())[: 1 if trusted else None])
    commands, markers = [], {}
    for number, (way, arguments) in enumerate(ways.items()):
        marker = markers[way] = tmp_path / f'{number}' / RAN
        program = f'import os\nos.system("touch {marker}")\n'
        run = copy_of(trained, marker.parent / 'run', lambda content, text=program: content['meta'].update(config=text))
        trust = ['--trust-checkpoint'] if trusted else []
        arguments = [argument.format(run=run) for argument in arguments]
        commands.append(('train.py', SMOKE, '--work-dir', run, *trust, *arguments, 'train_cfg.max_iters=3'))
    output = tmp_path / 'output.txt'
    assert in_a_process(run_tools, str(output), str(smoke_worlds), commands) == 0, output.read_text()[-3000:]
    assert output.read_text().count('resumed epoch: 0, iter: 2') == len(set(ways) - {'load_from'})
    assert [way for way in markers if markers[way].exists()] == (list(ways) if trusted else [])
    if not trusted:
        # a resumed run goes on, and the text is in no file that it writes
        written = load_checkpoint_file(str(tmp_path / '0' / 'run' / 'iter_3.pth'))
        assert 'config' not in written['meta'] and 'os.system' not in str(written['message_hub'])


def test_the_stock_loader_runs_that_code(run, smoke_worlds, tmp_path):
    """Otherwise the tests above would prove nothing."""
    output = tmp_path / 'output.txt'
    assert in_a_process(load_with_mmseg, str(output), str(smoke_worlds), str(run / 'iter_2.pth')) == 0
    assert (tmp_path / RAN).exists()


@pytest.mark.parametrize('way', ['train resume', 'test'])
def test_code_runs_for_those_who_ask_for_it(run, smoke_worlds, tmp_path, way):
    tool, config, *arguments = WAYS[way](run, None)
    command = (tool, config, '--trust-checkpoint', *arguments)
    assert in_a_process(run_tools, str(tmp_path / 'output.txt'), str(smoke_worlds), [command]) == 0
    assert (tmp_path / RAN).exists()


def files_in(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob('*') if not path.is_dir()}


def test_output_stays_in_the_folders_that_the_options_name(trained, smoke_worlds, tmp_path):
    """Python's audit events show what is written anywhere, a listing what compiled code wrote near by."""
    here, out = tmp_path / 'here', tmp_path / 'out'
    shutil.copytree(smoke_worlds, here)
    run = tmp_path / 'run'
    shutil.copytree(trained, run)
    checkpoint = run / 'iter_2.pth'
    (run / 'last_checkpoint').write_text(str(checkpoint))
    commands = [
        ('train.py', SMOKE, '--work-dir', out / 'train', *NO_WORKERS, 'train_cfg.max_iters=2'),
        (
            *('test.py', SMOKE, checkpoint, '--work-dir', out / 'test', '--out', out / 'ids'),
            *('--show-dir', out / 'shown', *NO_WORKERS),
        ),
        ('figures.py', 'losses', '--only', 'fig3', '--out', out / 'figures', '--suffixes', '.png'),
        ('figures.py', 'fig2', SMOKE, checkpoint, '--out', out / 'figures', '--suffixes', '.png'),
        ('gradient_sizes.py', SMOKE, checkpoint, '--batches', 1),
        ('report.py', f'../../adapted={run}', '--out', out / 'report' / 'report.html'),
        ('paper.py', 'table3', '--data', 'smoke', '--no-train', '--out', out / 'paper'),
        (
            *('make_worlds.py', '--out', out / 'worlds', '--size', 64, 32, '--source', 2, '--target-train', 2),
            *('--target-val', 2, '--workers', 1),
        ),
    ]
    before = files_in(here) | files_in(run)
    output, listing = tmp_path / 'output.txt', tmp_path / 'written.txt'
    code = in_a_process(run_tools, str(output), str(here), commands, str(listing))
    assert code == 0, output.read_text()[-3000:]
    assert files_in(here) | files_in(run) == before
    assert {path.name for path in out.iterdir()} == {
        *('train', 'test', 'ids', 'shown', 'figures', 'report', 'paper', 'worlds')
    }
    assert all(any(folder.rglob('*.*')) for folder in out.iterdir())
    written = {Path(line) for line in listing.read_text().splitlines()}
    assert out / 'train' / 'last_checkpoint.incomplete' in written
    compiler = Path(tempfile.gettempdir()) / f'torchinductor_{getpass.getuser()}'
    libraries = (Path(matplotlib.get_cachedir()), Path(matplotlib.get_configdir()), compiler)
    allowed = (out, tmp_path / 'temporary', Path('/dev'), Path('/proc'), *libraries)
    assert [str(path) for path in written if not any(path.is_relative_to(folder) for folder in allowed)] == []


RECORDER = '#!/bin/sh\nfor argument in "$@"; do printf "%s\\n" "$argument"; done\n'
HOSTILE = ['a b', '$(touch stray)', '; touch stray', '`touch stray`', '*', '--cfg-options', "x='y z'"]


@pytest.mark.parametrize(
    ('script', 'arguments'),
    [
        ('dist_train.sh', ['{}', '2']),
        ('dist_test.sh', ['{}', '{}', '2']),
        ('slurm_train.sh', ['{}', '{}', '{}']),
        ('slurm_test.sh', ['{}', '{}', '{}', '{}']),
    ],
)
def test_scripts_pass_arguments_on_as_they_are(tmp_path, script, arguments):
    """With programs in the place of python and srun that print their arguments."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text(RECORDER)
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        'PATH': f'{tmp_path}:{os.environ["PATH"]}',
        'GPUS': '8',
        'GPUS_PER_NODE': '4',
        'SRUN_ARGS': '--signal=TERM@120 --qos=long',
    }
    hostile = "it's $(touch stray); touch stray"
    command = [str(ROOT / 'tools' / script), *(argument.format(hostile) for argument in arguments), *HOSTILE]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    lines = result.stdout.splitlines()
    assert lines[-len(HOSTILE) :] == HOSTILE
    assert not (tmp_path / 'stray').exists()
    if script.startswith('slurm'):
        assert lines[:2] == [f'--partition={hostile}', f'--job-name={hostile}']
        expected = {'--ntasks=8', '--ntasks-per-node=4', '--gres=gpu:4', '--signal=TERM@120', '--qos=long'}
        assert expected | {'--kill-on-bad-exit=1'} <= set(lines)
        assert lines[-len(HOSTILE) - 2 : -len(HOSTILE)] == ['--launcher', 'slurm']
    else:
        assert lines[:2] == ['-m', 'torch.distributed.run'] and '--nproc_per_node=2' in lines
        assert lines[-len(HOSTILE) - 2 : -len(HOSTILE)] == ['--launcher', 'pytorch']
    assert hostile in lines
