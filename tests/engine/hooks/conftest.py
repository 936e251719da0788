"""What the tests of hooks share."""

import pytest
from mmengine.runner import CheckpointLoader


@pytest.fixture(autouse=True)
def loader_schemes():
    """Leave MMEngine's loaders as they were."""
    former = CheckpointLoader._schemes.copy()
    yield
    CheckpointLoader._schemes = former
