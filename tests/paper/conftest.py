"""Smoke-sized models that build and train in the test's own process."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.fixture
def smoke_config(smoke_worlds, monkeypatch):
    """Return a function that reads a smoke-sized config, its data at hand and its loaders without workers."""
    monkeypatch.chdir(smoke_worlds)
    init_default_scope('mmseg')

    def read(name):
        config = Config.fromfile(CONFIGS / 'smoke' / f'{name}.py')
        for loader in ('train', 'target', 'val', 'test'):
            config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
        return config

    return read
