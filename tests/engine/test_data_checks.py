"""Prepared copies as training data: those that fit are read, others stop the run before its first step."""

from pathlib import Path

import pytest

from cda_mmseg.datasets.preparation import prepare
from cda_mmseg.engine.composition import read_config
from cda_mmseg.engine.runner import UDARunner

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.fixture
def config(smoke_worlds, tmp_path, monkeypatch):
    """A run of one iteration whose source and target are prepared copies."""
    monkeypatch.chdir(smoke_worlds)
    config = read_config(CONFIGS / 'smoke' / 'gan_ce_gta2city.py')
    config.work_dir = str(tmp_path / 'run')
    config.train_cfg.update(max_iters=1, val_interval=2)
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    for loader in ('train', 'target'):
        dataset = config[f'{loader}_dataloader'].dataset
        copy = str(tmp_path / f'{loader}_copy')
        prepare(dataset.to_dict(), copy, labels=loader == 'train', report=lambda line: None)
        dataset.data_root = copy
    return config


def test_training_reads_prepared_copies(config, tmp_path):
    UDARunner.from_cfg(config).train()
    assert (tmp_path / 'run' / 'iter_1.pth').is_file()


@pytest.mark.parametrize('loader', ['train', 'target'])
def test_a_copy_of_another_size_stops_training(config, tmp_path, loader):
    pipeline = config[f'{loader}_dataloader'].dataset.pipeline
    next(step for step in pipeline if step.type == 'Resize').scale = (128, 128)
    with pytest.raises(ValueError) as error:
        UDARunner.from_cfg(config).train()
    key = f'{loader}_dataloader.dataset'
    assert str(error.value).startswith(f'{key}.data_root={tmp_path / f"{loader}_copy"} was prepared for Resize(')
    for part in ('[64, 64]', f'{key}.pipeline asks for Resize(', '[128, 128]'):
        assert part in str(error.value)
    assert f'set {key}.data_root={Path.cwd()}/data/worlds/' in str(error.value)
    assert not list((tmp_path / 'run').glob('*.pth'))
