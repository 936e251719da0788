"""Several processes train what one process trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from cda_mmseg.models import PlayerDistributedDataParallel
from tests.models.distributed_training import ITERATIONS, train

init_default_scope('mmseg')
ROOT = Path(__file__).resolve().parents[2]


def train_on_two(out: Path, kind: str, dtype: str, accumulation: int) -> list[dict]:
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--rdzv-backend=c10d']
    command += ['--rdzv-endpoint=127.0.0.1:0', '-m', 'tests.models.distributed_training', str(out), kind, dtype]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    # Into a file: workers that outlive a time-out would hold a pipe open.
    with open(out / 'output.txt', 'w') as output:
        subprocess.run(
            [*command, str(accumulation)],
            cwd=ROOT,
            env=environment,
            check=True,
            timeout=120,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return [torch.load(out / f'rank{rank}.pth', weights_only=True) for rank in range(2)]


@pytest.mark.parametrize(
    'kind, dtype, accumulation, tolerance',
    [('SGD', 'float32', 1, 1e-6), ('Adam', 'float64', 1, 1e-10), ('SGD', 'float64', 2, 1e-10)],
)
def test_two_processes_equal_one_with_twice_the_batch(tmp_path, kind, dtype, accumulation, tolerance):
    """Unequal numbers of ignored pixels included; ranks alike bit for bit; every gradient reduced once per step."""
    ranks = train_on_two(tmp_path, kind, dtype, accumulation)
    for name, value in ranks[0]['weights'].items():
        assert torch.equal(value, ranks[1]['weights'][name]), name
    one, _ = train(kind, getattr(torch, dtype), accumulation, 0, 1)
    for name, value in one.named_parameters():
        assert (value - ranks[0]['weights'][name]).abs().max() < tolerance, name
    for player in ('encoder', 'generator', 'discriminator'):
        size = sum(value.numel() * value.element_size() for value in one.player(player).parameters())
        assert ranks[0]['reduced'][player] == ITERATIONS * size


def test_other_models_are_passed_through_but_not_trained():
    model = torch.nn.Linear(1, 1)
    wrapped = PlayerDistributedDataParallel(model)
    assert wrapped.module is model
    with pytest.raises(TypeError, match='Linear'):
        wrapped.train_step({}, None)
