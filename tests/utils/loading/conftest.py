"""Where the runs that are saved come from, and how the host's readers survive a test."""

import sys
from pathlib import Path

import pytest
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmengine.runner import CheckpointLoader
from mmseg.datasets.transforms import loading

sys.path.insert(0, str(Path(__file__).parents[2] / 'engine' / 'hooks'))


# As imported: no test has run yet.
STOCK_SCHEMES = CheckpointLoader._schemes.copy()
STOCK_DATAFROMBYTES = loading.datafrombytes
STOCK_HANDLERS = dict(file_handlers)


@pytest.fixture
def stock_readers(monkeypatch):
    """Begin with mmengine's and mmseg's own readers, whatever ran before, and leave what was found."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', STOCK_SCHEMES.copy())
    monkeypatch.setattr(loading, 'datafrombytes', STOCK_DATAFROMBYTES)
    for suffix, handler in STOCK_HANDLERS.items():
        monkeypatch.setitem(file_handlers, suffix, handler)
