"""What all tests share: fixed seeds, hypothesis' profile and where optional data lies."""

import gc
import os
import random
import tempfile
from pathlib import Path

# Before torch is imported, and for every child process: the networks are tiny, and some tests run two processes.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import pytest
import torch
from hypothesis import settings
from mmengine.config import Config
from mmengine.registry import init_default_scope

import cda_mmseg.registration  # noqa: F401
from cda_mmseg.datasets.worlds import PAIRS, write_world
from cda_mmseg.engine import read_config
from tests.config_text import plain_text

# mmengine collects garbage for every data set; what is imported stays anyway.
gc.freeze()

REPOSITORY = Path(__file__).resolve().parents[1]

# A busy machine misses any deadline; on CI every run draws the same examples.
settings.register_profile('cda_mmseg', deadline=None, derandomize='CI' in os.environ, print_blob=True)
settings.load_profile('cda_mmseg')


@pytest.fixture(autouse=True)
def fixed_seeds():
    """Start every test from the same random state, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def plain_config_text(monkeypatch):
    """Write configs plainly in this process; formatting takes longer than most tests. Processes of their own format."""
    monkeypatch.setattr(Config, 'pretty_text', property(plain_text))


@pytest.fixture(scope='session')
def shared_data():
    """Folder with optional real data beside the repository; tests that want it are skipped where it is absent."""
    folder = REPOSITORY.parent / 'shared'
    if not folder.is_dir():
        pytest.skip(f'needs the data in {folder}')
    return folder


@pytest.fixture(scope='session')
def smoke_worlds(tmp_path_factory):
    """Folder to start smoke-sized configs in: it has the built-in worlds where their data roots point.

    It is shared by all tests of the session, so nothing else may be written into it.
    """
    folder = tmp_path_factory.mktemp('smoke_worlds')
    for pair in PAIRS.keys() - {'appearance', 'no_gap'}:
        write_world(
            folder / 'data' / 'worlds' / f'smoke_{pair}', pair, size=(64, 32), source=8, target_train=8, target_val=4
        )
    return folder


@pytest.fixture
def smoke_config(smoke_worlds, monkeypatch):
    """Return a function that reads a smoke-sized config, its data at hand and its loaders without workers."""
    monkeypatch.chdir(smoke_worlds)
    init_default_scope('mmseg')

    def read(name):
        config = read_config(REPOSITORY / 'configs' / 'smoke' / f'{name}.py')
        for loader in ('train', 'target', 'val', 'test'):
            config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
        return config

    return read


@pytest.fixture
def short_folder():
    """Return an empty folder for sockets, whose names must be shorter than a path below ``tmp_path`` can be."""
    with tempfile.TemporaryDirectory(prefix='uda') as folder:
        yield Path(folder)
