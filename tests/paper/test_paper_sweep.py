"""Sweeps of real training processes on a smoke-sized world."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from cda_mmseg.experiments.projection import Speed, format_duration, measure_speed
from cda_mmseg.paper.data_settings import SETTINGS
from cda_mmseg.paper.experiments import READINGS, Experiment, gan_ce, gan_cl, source_only
from cda_mmseg.paper.paper_sweep import PaperSweep, PaperSweepError, list_points
from cda_mmseg.paper.tables import TABLES
from tests.config_text import plain_text

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    f'{loader}_dataloader.{key}': value
    for loader in ('train', 'target', 'val', 'test')
    for key, value in (('num_workers', 0), ('persistent_workers', False))
} | {'model.decode_head.zero_init': False}


@pytest.fixture(scope='module')
def sweep_folder(smoke_worlds, tmp_path_factory):
    """A sweep in which GAN + CE was run to its end."""
    folder = tmp_path_factory.mktemp('sweep')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(smoke_worlds)
        patch.setenv('PYTHONPATH', str(ROOT))
        patch.setattr(Config, 'pretty_text', property(plain_text))  # as in the tests below
        sweep = PaperSweep(ROOT, folder, SETTINGS['smoke'], options=OPTIONS)
        sweep.run(list_points([gan_ce()], [7]))
        assert sweep.failures == {}
    return folder


@pytest.fixture
def sweep(sweep_folder, smoke_worlds, monkeypatch):
    monkeypatch.chdir(smoke_worlds)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    return PaperSweep(ROOT, sweep_folder, SETTINGS['smoke'], options=OPTIONS)


def weights(path):
    return torch.load(path, weights_only=False)['state_dict']


def test_a_finished_run_is_not_repeated_and_an_interrupted_one_goes_on(sweep):
    (point,) = list_points([gan_ce()], [7])
    folder = sweep.work_dir(point)
    assert sweep.is_finished(point)
    assert sweep.result(point).log.last('target/mIoU').step == 4
    assert sweep.result(point).seconds > 0
    assert sorted(path.name for path in folder.glob('iter_*.pth')) == ['iter_2.pth', 'iter_3.pth', 'iter_4.pth']
    sweep.run([point])
    assert len(list(folder.glob('*/vis_data'))) == 1

    # What a kill behind the second checkpoint leaves.
    whole = weights(folder / 'iter_4.pth')
    for name in ('result.json', 'iter_3.pth', 'iter_4.pth'):
        (folder / name).unlink()
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_2.pth'))
    assert not sweep.is_finished(point)
    assert sweep.result(point) is None
    sweep.run([point])
    assert sweep.failures == {}
    assert sweep.result(point).seconds is None
    first, second = sorted(folder.glob('*/vis_data/scalars.json'))
    steps = [json.loads(line)['step'] for line in second.read_text().splitlines()]
    assert steps[0] == 3 and first != second
    resumed = weights(folder / 'iter_4.pth')
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_an_equal_ratio_run_starts_from_measured_gradients(sweep):
    experiment = gan_cl().read('equal-ratio')
    config = sweep.compose(experiment)
    sizes = sweep.gradient_sizes('gta2city')
    assert sizes.iteration == 2
    assert set(sizes.losses) >= {'gan_cl', 'gan_focal', 'gan_loss1', 'gan_cl_base_2', 'gan_cl_weight_20'}
    factor = sizes.losses['gan_cl'] / sizes.cross_entropy
    plain = sweep.compose(gan_cl())
    assert config.model.adaptations.image_adversary.encoder_adversarial_weight == (
        factor * plain.model.adaptations.image_adversary.encoder_adversarial_weight
    )
    assert config.model.decode_head.loss_decode.warm.loss_weight == factor
    # Measured once: another sweep in the folder reads the file.
    before = (sweep.out / 'gradients' / 'gta2city.json').stat().st_mtime_ns
    PaperSweep(ROOT, sweep.out, SETTINGS['smoke'], options=OPTIONS).compose(experiment)
    assert (sweep.out / 'gradients' / 'gta2city.json').stat().st_mtime_ns == before


def test_runs_of_another_config_are_not_mixed(sweep):
    longer = PaperSweep(ROOT, sweep.out, SETTINGS['smoke'], scale=2.0, options=OPTIONS)
    with pytest.raises(PaperSweepError, match=r'holds runs of gta2city/gan_ce with another config.*Choose another'):
        longer.run(list_points([gan_ce()], [8]))
    with pytest.raises(PaperSweepError, match='another config'):
        longer.run(list_points([gan_ce()], [7]))


def test_a_run_that_fails_is_noted_and_the_next_one_begins(sweep, tmp_path):
    points = list_points([source_only(), gan_ce(), gan_cl().read('equal-ratio')], [0])
    broken = PaperSweep(ROOT, tmp_path, SETTINGS['smoke'], options=OPTIONS | dict(load_from='nowhere.pth'))
    broken.run(points)
    for point in points[:2]:
        output = broken.work_dir(point) / 'output.txt'
        assert broken.failures[point] == f'exit code 1, see {output}'
        assert 'nowhere.pth' in output.read_text()
    assert 'has no finished run' in broken.failures[points[2]]
    assert not any(map(broken.is_finished, points))


@pytest.mark.parametrize(
    'key', ['execution.batch_domains', 'adaptations.image_adversary.begin', 'optim_wraper.encoder.lr']
)
def test_options_that_would_not_be_in_force_are_refused(key, tmp_path):
    """In a composed config execution and adaptations stand under model, where they win over any above it."""
    place = key.split('.')[0]
    with pytest.raises(KeyError, match=rf"--cfg-options {key}: the config has no '{place}', only \["):
        PaperSweep(ROOT, tmp_path, SETTINGS['smoke'], options={key: 1}).compose(gan_ce())


def test_points_are_unique_and_what_is_measured_comes_first():
    experiments = [experiment for table in TABLES.values() for experiment in table.experiments(READINGS)]
    points = list_points(experiments, [4, 5])
    assert len(points) == len(set(points)) == 2 * len({experiment.folder for experiment in experiments})
    assert [point.seed for point in points] == [4] * (len(points) // 2) + [5] * (len(points) // 2)
    order = [point.experiment.folder for point in points if point.seed == 4]
    assert all(
        order.index('gta2city/gan_ce') < place for place, folder in enumerate(order) if folder.endswith('equal_ratio')
    )


def test_experiments_that_differ_have_folders_of_their_own():
    close = [gan_cl(base=base) for base in (2.5, 2.500000001)] + [gan_cl(weight=weight) for weight in (3.0, 3.0000001)]
    assert [point.experiment for point in list_points(close, [0])] == close
    assert close[2].folder == 'gta2city/gan_cl_weight_3'
    namesakes = [Experiment('cl', 'gan_cl', changes=(('main.base', base),)) for base in (2.0, 3.0)]
    with pytest.raises(ValueError, match=r'have one folder, gta2city/cl'):
        list_points(namesakes, [0])


def test_a_seed_given_twice_is_one_run():
    assert list_points([gan_ce()], [1, 2, 1]) == list_points([gan_ce()], [1, 2])


def test_projection_adds_up(sweep, tmp_path):
    config = sweep.compose(gan_ce())
    config.train_cfg.update(max_iters=600, val_interval=250)
    # 10 s to start, 600 iterations, and validations at 250, 500 and 600.
    assert Speed(10.0, 0.2, 0.01).run_seconds(config, 50) == pytest.approx(10 + 120 + 3 * 50 * 0.01)
    # A finished run of the kind stands for the others.
    point, *others = list_points([gan_ce(), gan_cl()], [7])
    marker = sweep.work_dir(point) / 'result.json'
    kept = marker.read_text()
    marker.write_text('{"seconds": 100.0}')
    assert sweep.project([point, *others]) == 100.0
    marker.write_text(kept)


def test_a_probe_leaves_the_config_as_it_is_and_says_where_it_failed(sweep, tmp_path):
    config = sweep.compose(gan_ce())
    before = config.pretty_text
    with pytest.raises(RuntimeError, match=r'A few iterations of probe failed with exit code 2: see .*output\.txt'):
        measure_speed(config, tmp_path / 'no_tool.py', tmp_path / 'probe')
    assert config.pretty_text == before
    probe = Config.fromfile(tmp_path / 'probe' / 'probe.py')
    assert (probe.train_cfg.max_iters, [part.indices for part in probe.val_dataloader.dataset.datasets]) == (12, [4, 4])


@pytest.mark.parametrize(
    'seconds, text', [(0.4, '0 s'), (89.4, '89 s'), (90, '2 min'), (3570, '1 h 00 min'), (7510, '2 h 05 min')]
)
def test_durations_read_well(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.campaign
def test_the_tool_is_stopped_and_goes_on(smoke_worlds, tmp_path):
    """Table 3 in both readings with Fig. 1: interrupted by SIGTERM, finished by the same command, then not repeated."""
    command = [sys.executable, str(ROOT / 'tools' / 'paper.py'), 'table3', 'fig1', '--data', 'smoke', '--seeds', '0']
    command += ['--scale', '40', '--validations', '2', '--out', str(tmp_path), '--cfg-options']
    command += [f'{key}={value}' for key, value in OPTIONS.items()]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}

    process = subprocess.Popen(command, cwd=smoke_worlds, env=environment, stdout=subprocess.PIPE, text=True)
    running = tmp_path / 'runs' / 'gta2city' / 'gan_ce' / 'seed0'
    deadline = time.monotonic() + 600
    while not list(running.glob('iter_*.pth')) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert process.returncode == os.EX_TEMPFAIL
    assert not (running / 'result.json').exists()

    first = subprocess.run(command, cwd=smoke_worlds, env=environment, capture_output=True, text=True, check=True)
    assert '4 runs, 1 of them finished' in first.stdout
    assert 'Projected time of the other 3' in first.stdout
    assert json.loads((running / 'result.json').read_text())['seconds'] is None
    table = (tmp_path / 'table3.md').read_text()
    assert table.count('gta2city/') == 4 and 'resumed' in table and '160 iterations a run' in table
    assert (tmp_path / 'table3.html').is_file() and (tmp_path / 'fig1_0.svg').is_file()

    again = subprocess.run(command, cwd=smoke_worlds, env=environment, capture_output=True, text=True, check=True)
    assert '4 runs, 4 of them finished' in again.stdout
    assert 'gan_ce/seed0: finished before' in again.stdout
    assert (tmp_path / 'table3.md').read_text() == table
