"""The command-line tools, as a user calls them."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmseg.apis import MMSegInferencer, inference_model, init_model

from cda_mmseg import launch
from cda_mmseg.utils.loading import load_checkpoint_file
from cda_mmseg.visualization.run_log import read_run_log

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'smoke' / 'cl_gta2city.py'
NO_WORKERS = [
    f'{loader}_dataloader.{option}'
    for loader in ('train', 'target', 'val', 'test')
    for option in ('num_workers=0', 'persistent_workers=False')
]


def run_tool(monkeypatch, name: str, *arguments: object) -> None:
    """Run a tool inside this process: importing torch and mmseg again takes longer than the work."""
    monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
    runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')


@pytest.fixture(scope='module')
def trained(smoke_worlds, tmp_path_factory):
    """A run of the smoke config, trained by a process of its own."""
    work_dir = tmp_path_factory.mktemp('trained')
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(CONFIG), '--work-dir', str(work_dir)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    result = subprocess.run(
        [*command, '--seed', '3'], cwd=smoke_worlds, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return work_dir, result.stdout


def test_train_says_where_things_are(trained):
    work_dir, output = trained
    assert f'Last checkpoint: {work_dir}/iter_4.pth' in output
    assert f'Run:             {work_dir}' in output
    assert 'scalars.json' in output
    checkpoint = load_checkpoint_file(str(work_dir / 'iter_4.pth'))
    assert checkpoint['meta']['seed'] == 3
    launch = json.loads(next(work_dir.glob('*/launch.json')).read_text())
    assert shlex.split(launch['command'])[-2:] == ['--seed', '3'] and launch['seed'] == 3
    assert 'train_cfg.max_iters: 100000 → 4' in launch['changes'] and launch['config'] == str(CONFIG)
    assert 'eta' in output or 'eta' in next(work_dir.glob('*/*.log')).read_text()


def test_the_terminal_shows_little_before_the_first_iteration(trained):
    """And the log file everything."""
    work_dir, output = trained
    before = output[: output.index('Saving checkpoint at 4 iterations')]
    assert len(before.splitlines()) <= 60
    log = next(work_dir.glob('*/*.log'))
    assert f'stand in {log}.' in before and 'In force:' in before
    for listing in ('System environment:', 'Config:\n', 'Hooks will be executed in the following order:'):
        assert listing not in before and listing in log.read_text()


def test_test_scores_what_training_scored(trained, smoke_worlds, tmp_path, monkeypatch):
    """By the command that training prints."""
    work_dir, output = trained
    monkeypatch.chdir(smoke_worlds)
    python, tool, *arguments = shlex.split(re.search(r'^Evaluate with: +(.*)$', output, re.MULTILINE)[1])
    assert [Path(path).is_file() for path in (python, tool, *arguments)] == [True] * 4
    assert Path(tool).samefile(ROOT / 'tools' / 'test.py')
    arguments += ['--work-dir', tmp_path, '--out', tmp_path / 'out', '--per-image', tmp_path / 'images.csv']
    run_tool(monkeypatch, 'test.py', *arguments, '--cfg-options', *NO_WORKERS)
    scores = Config.fromfile(next(tmp_path.glob('*/[0-9]*.json')))
    assert scores['target/mIoU'] == read_run_log(work_dir).last('target/mIoU').value
    assert (scores['target/images'], scores['source/images']) == (4, 2)
    lines = (tmp_path / 'images.csv').read_text().splitlines()
    assert lines[0].startswith('domain,image,mIoU,aAcc,IoU.road,') and len(lines) == 1 + 4 + 2
    written = sorted((tmp_path / 'out' / 'target').glob('*.png'))
    assert len(written) == 4 and cv2.imread(str(written[0]), cv2.IMREAD_UNCHANGED).shape == (32, 64)


def test_weights_that_are_not_there_are_one_line(smoke_worlds, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(smoke_worlds)
    with pytest.raises(SystemExit) as end:
        run_tool(monkeypatch, 'test.py', CONFIG, 'nowhere.pth', '--work-dir', tmp_path, '--cfg-options', *NO_WORKERS)
    assert end.value.code == 1
    message = 'test.py: There is no checkpoint nowhere.pth: No such file or directory. Check the path.\n'
    assert capfd.readouterr().err == message


def test_test_time_augmentation_runs(trained, smoke_worlds, tmp_path, monkeypatch):
    work_dir, _ = trained
    monkeypatch.chdir(smoke_worlds)
    arguments = [CONFIG, work_dir / 'iter_4.pth', '--work-dir', tmp_path, '--tta']
    run_tool(monkeypatch, 'test.py', *arguments, '--cfg-options', *NO_WORKERS)
    assert 'target/mIoU' in Config.fromfile(next(tmp_path.glob('*/[0-9]*.json')))


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_mixed_precision_trains(dtype, smoke_worlds, tmp_path, monkeypatch):
    monkeypatch.chdir(smoke_worlds)
    arguments = [ROOT / 'configs' / 'smoke' / 'gan_ce_gta2city.py', '--work-dir', tmp_path, '--amp', dtype]
    options = [*NO_WORKERS, 'train_cfg.max_iters=2', 'default_hooks.logger.interval=1']
    run_tool(monkeypatch, 'train.py', *arguments, '--cfg-options', *options)
    losses = read_run_log(tmp_path).training['loss'].values
    assert losses == pytest.approx([np.log(19)] * 2, abs=0.05)
    saved = load_checkpoint_file(str(tmp_path / 'iter_2.pth'))
    # Adam has stepped twice on finite gradients of every player (float16 may leave a step out to find its scale).
    for player in ('encoder', 'generator', 'discriminator'):
        states = saved['optimizer'][player]['state'].values()
        assert all(state['step'] >= 1 and state['exp_avg'].isfinite().all() for state in states) and len(states) > 0
        assert any(state['exp_avg'].abs().max() > 0 for state in states)
        assert bool(saved['optimizer'][player].get('loss_scaler')) == (dtype == 'float16')


def test_resume_goes_on(trained, smoke_worlds, tmp_path, monkeypatch):
    work_dir, _ = trained
    monkeypatch.chdir(smoke_worlds)
    arguments = [CONFIG, '--work-dir', tmp_path, '--resume', work_dir / 'iter_4.pth']
    run_tool(monkeypatch, 'train.py', *arguments, '--cfg-options', *NO_WORKERS, 'train_cfg.max_iters=6')
    assert load_checkpoint_file(str(tmp_path / 'iter_6.pth'))['meta']['seed'] == 3


def test_two_checkpoints_to_start_from_are_one_too_many(tmp_path, monkeypatch, capfd):
    with pytest.raises(SystemExit) as end:
        arguments = ('--work-dir', tmp_path / 'run', '--resume', 'a.pth', '--branch-from', 'b.pth')
        run_tool(monkeypatch, 'train.py', CONFIG, *arguments)
    assert end.value.code == 2 and 'two checkpoints to start from: give one of them' in capfd.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_mmsegs_own_interfaces_take_the_adapted_model(trained, smoke_worlds, monkeypatch):
    work_dir, _ = trained
    monkeypatch.chdir(smoke_worlds)
    config = next(work_dir.glob('*.py'))
    image = str(next(smoke_worlds.glob('data/worlds/smoke_gta2city/cityscapes/leftImg8bit/val/*/*.png')))
    model = init_model(str(config), str(work_dir / 'iter_4.pth'), device='cpu')
    assert type(model).__name__ == 'UDASegmentor'
    predicted = inference_model(model, image).pred_sem_seg.data[0].numpy()
    inferencer = MMSegInferencer(str(config), str(work_dir / 'iter_4.pth'), device='cpu')
    assert np.array_equal(inferencer(image, show=False)['predictions'], predicted)
    assert predicted.shape == (32, 64)


def test_a_misspelt_option_is_named(tmp_path):
    with pytest.raises(KeyError, match="has no 'decode_heads'"):
        launch.load_config(str(CONFIG), {'model.decode_heads.num_classes': 3}, str(tmp_path), 'none')
    with pytest.raises(FileNotFoundError, match='cl_gta2vity'):
        launch.load_config('configs/cl_gta2vity.py', None, None, 'none')


def test_mixed_precision_reaches_every_player():
    config = launch.load_config(str(CONFIG), None, None, 'none')
    launch.enable_mixed_precision(config, 'bfloat16')
    players = {key: value for key, value in config.optim_wrapper.items() if isinstance(value, dict)}
    assert {name: player.type for name, player in players.items()} == dict.fromkeys(
        ('encoder', 'generator', 'discriminator'), 'AutocastOptimWrapper'
    )
