"""A sweep on real runs: arms from one warm start, what is finished is never repeated."""

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

from cda_mmseg.experiments import (
    Arm,
    ClusterCommands,
    LocalCommands,
    Sweep,
    SweepError,
    SweepProgress,
    SweepStoppedError,
    read_sweep,
    run_sweep,
    score_table,
)
from cda_mmseg.experiments.progress import last_position
from cda_mmseg.experiments.sweep import read_results

SMOKE = Path(__file__).resolve().parents[2] / 'configs' / 'smoke'


@pytest.fixture
def sweep_file(tmp_path, smoke_worlds, monkeypatch):
    monkeypatch.chdir(smoke_worlds)
    for name in ('source_only', 'gan_ce'):
        loaders = ', '.join(f'{loader}_dataloader' for loader in ('train', 'target', 'val', 'test'))
        (tmp_path / f'{name}.py').write_text(
            f'_base_ = {str(SMOKE / f"{name}_gta2city.py")!r}\n'
            'train_cfg = dict(max_iters=2, val_interval=2)\n'
            'default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1), logger=dict(interval=1))\n'
            + ''.join(f'{loader} = dict(num_workers=0, persistent_workers=False)\n' for loader in loaders.split(', '))
        )
    (tmp_path / 'sweep.py').write_text(
        "seeds = [0, 0]\narms = dict(base=dict(config='source_only.py'), "
        "arm=dict(config='gan_ce.py', branch_from=('base', 1), "
        "options=['optim_wrapper.encoder.optimizer.lr=0.5']))\n"
    )
    return tmp_path / 'sweep.py'


def test_arms_go_on_from_one_warm_start_and_are_trained_once(sweep_file, tmp_path):
    out, lines = tmp_path / 'out', []
    run_sweep(read_sweep(sweep_file), out, jobs=2, report=lines.append)
    assert sorted(line.split(' in ')[0] for line in lines) == ['arm/seed0: finished', 'base/seed0: finished']
    result = json.loads((out / 'arm' / 'seed0' / 'result.json').read_text())
    assert (result['branch_from'], result['seed']) == (['base', 1], 0)
    assert 'branches off' in (out / 'arm' / 'seed0' / 'output.txt').read_text()
    assert result['options'] == ['optim_wrapper.encoder.optimizer.lr=0.5']
    assert Config.fromfile(next((out / 'arm' / 'seed0').glob('*.py'))).optim_wrapper.encoder.optimizer.lr == 0.5
    # Weights stay where an arm branches from.
    assert [path.name for path in sorted(out.glob('*/*/*.pth'))] == ['iter_1.pth']
    table = score_table(read_results(out), ['target/mIoU'], 'base')
    assert table.count('\n') == 4 and '| base | 1 |' in table

    lines.clear()
    run_sweep(read_sweep(sweep_file), out, report=lines.append)
    assert sorted(lines) == ['arm/seed0: finished before', 'base/seed0: finished before']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(options=('a=2',)), r"options=\('a=1',\), but the arm has options=\('a=2',\) now"),
        (dict(branch_from=('base', 2)), r"branch_from=\('base', 1\), but the arm has branch_from=\('base', 2\) now"),
        (dict(config=Path('other.py')), r"config='gan_ce\.py', but the arm has config='other\.py' now"),
    ],
)
def test_a_result_of_an_arm_that_was_another_one_is_refused_before_anything_is_trained(tmp_path, change, message):
    class Nowhere(LocalCommands):
        def run(self, command, output):
            raise AssertionError('trained')

    arm = Arm('arm', Path('moved') / 'gan_ce.py', ('a=1',), ('base', 1))
    for name, branch in (('base', None), ('arm', ('base', 1))):
        result = tmp_path / 'out' / name / 'seed0' / 'result.json'
        result.parent.mkdir(parents=True)
        options = [] if branch is None else ['a=1']
        result.write_text(json.dumps(dict(arm=name, config='/gan_ce.py', options=options, branch_from=branch)))
    base, run = Arm('base', Path('gan_ce.py')), dict(report=lambda line: None, commands=Nowhere())
    run_sweep(Sweep((base, arm), (0,)), tmp_path / 'out', **run)
    with pytest.raises(ValueError, match=message):
        run_sweep(Sweep((base, replace(arm, **change)), (0, 1)), tmp_path / 'out', **run)


@pytest.mark.parametrize('place', ['here', 'a cluster'])
def test_commands_append_what_they_print_and_return_their_exit_code(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    commands = LocalCommands() if place == 'here' else ClusterCommands(tmp_path / 'jobs', 'local', dict(timeout_min=2))
    output = tmp_path / 'output.txt'
    script = "import os, sys; print(os.getcwd(), flush=True); print('wrong', file=sys.stderr); sys.exit(75)"
    for _ in range(2):
        assert commands.run([sys.executable, '-c', script], output) == 75
    assert output.read_text() == f'{tmp_path}\nwrong\n' * 2


def test_a_stopped_run_is_no_failure_and_stops_its_branches(sweep_file, tmp_path):
    class Stopped(LocalCommands):
        def run(self, command, output):
            return os.EX_TEMPFAIL

    with pytest.raises(SweepStoppedError, match=r'(?s)2 of 2 runs were stopped.*arm/seed0: base, from which'):
        run_sweep(read_sweep(sweep_file), tmp_path / 'out', report=lambda line: None, commands=Stopped())


def test_a_branch_begins_as_soon_as_its_checkpoint_is_there(sweep_file, tmp_path):
    begun, met = threading.Event(), []

    class Meeting(LocalCommands):
        def run(self, command, output):
            if output.parent.parent.name == 'base':
                (output.parent / 'iter_1.pth').touch()
                met.append(begun.wait(600))
            begun.set()
            return os.EX_TEMPFAIL

    with pytest.raises(SweepStoppedError):
        run_sweep(read_sweep(sweep_file), tmp_path / 'out', 2, report=lambda line: None, commands=Meeting())
    assert met == [True]


def test_progress_reads_how_far_a_run_is(sweep_file, tmp_path):
    for session, steps in (('1', (10, 20)), ('2', (100, 130))):
        log = tmp_path / session / f'{session}.log'
        log.parent.mkdir()
        log.write_text(''.join(f'mmengine - INFO - Iter(train) [{step:3d}/440]  loss: 1.0\n' for step in steps))
    assert last_position(tmp_path) == (130, 440)
    assert last_position(tmp_path / 'nothing yet') is None


def test_bars_are_of_the_runs_under_way(sweep_file, tmp_path):
    out = tmp_path / 'out'
    log = out / 'base' / 'seed0' / 'session' / 'session.log'
    log.parent.mkdir(parents=True)
    log.write_text('mmengine - INFO - Iter(train) [1/2]  loss: 1.0\n')
    progress = SweepProgress(read_sweep(sweep_file), out)
    with progress:
        progress._draw()
        assert progress.tasks == ['runs', 'base/seed0']
        (out / 'base' / 'seed0' / 'result.json').write_text('{}')
        progress._draw()
        assert progress.tasks == ['runs']


def test_progress_reads_the_logs_that_runs_write(sweep_file, tmp_path):
    plan, out = read_sweep(sweep_file), tmp_path / 'out'
    run_sweep(replace(plan, arms=plan.arms[:1]), out, report=lambda line: None)
    assert last_position(out / 'base' / 'seed0') == (2, 2)


def test_a_run_that_fails_is_named_and_takes_only_its_branches_with_it(sweep_file, tmp_path):
    text = (sweep_file.parent / 'source_only.py').read_text()
    (sweep_file.parent / 'broken.py').write_text(text + "load_from = 'nowhere.pth'\n")
    sweep_file.write_text(
        "seeds = [0]\narms = dict(broken=dict(config='broken.py'), "
        "branch=dict(config='gan_ce.py', branch_from=('broken', 1)), sound=dict(config='source_only.py'))\n"
    )
    with pytest.raises(SweepError, match=r'(?s)2 of 3 runs failed.*branch/seed0: broken.*broken/seed0: exit code 1'):
        run_sweep(read_sweep(sweep_file), tmp_path / 'out', report=lambda line: None)
    assert (tmp_path / 'out' / 'sound' / 'seed0' / 'result.json').is_file()


@pytest.mark.parametrize(
    'text, message',
    [
        ("seeds = [0]\narms = dict(a=dict(config='none.py'))", r"arms\.a\.config='none\.py' is no file"),
        ("seeds = [0]\narms = dict(a=dict(config='gan_ce.py', branch_from=('b', 1)))", "from 'b', which must stand"),
        ("seeds = [0]\narms = dict(a=dict(confg='gan_ce.py'))", r"arms\.a needs config.*\['confg'\]"),
        (
            "seeds = [0]\narms = dict(a=dict(config='gan_ce.py', options='a=1'))",
            r"a\.options must be a list of .*'a=1'",
        ),
        (
            "seeds = [0]\narms = dict(a=dict(config='gan_ce.py', branch_from='b'))",
            r"must be \(arm, iteration\), got 'b'",
        ),
        ("seeds = [0]\narms = dict(a=dict(config='gan_ce.py', branch_from=('b',)))", r'must be \(arm, iteration\)'),
        ("seeds = 3\narms = dict(a=dict(config='gan_ce.py'))", 'seeds must be a list of integers, got 3'),
        ("seeds = []\narms = dict(a=dict(config='gan_ce.py'))", r'seeds must be a list of integers, got \[\]'),
        ('seeds = [0]\narms = dict()', r'arms must be a dict of arms, got \{\}'),
        ("seeds = [0]\narms = {'a/b': dict(config='gan_ce.py')}", "'a/b' cannot be the name of an arm"),
        ('seeds = [0]\narm = dict()', r"keys arms and seeds, and may have job.*\['arm', 'seeds'\]"),
    ],
)
def test_mistakes_in_a_sweep_file_are_named(sweep_file, text, message):
    sweep_file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_sweep(sweep_file)


def test_the_shipped_sweep_can_be_read():
    sweep = read_sweep(SMOKE.parent / 'comparison' / 'airsim2camvid' / 'sweep.py')
    assert sweep.seeds == (0, 1, 2, 3, 4) and sweep.arms[0].name == 'source_only'
    assert all(arm.config.is_file() for arm in sweep.arms)
