"""What the tests of hooks share."""

import sys
from pathlib import Path

import pytest
from mmengine.runner import CheckpointLoader

# toy_training.py and run_state.py lie beside this file; child processes import them too
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def loader_schemes():
    """Leave MMEngine's loaders as they were."""
    former = CheckpointLoader._schemes.copy()
    yield
    CheckpointLoader._schemes = former
