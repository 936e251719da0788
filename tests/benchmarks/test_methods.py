"""The benchmark of all methods: what it compares is one and the same method."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger

from benchmarks import methods
from benchmarks.methods import METHODS, Method, method_config, ratio_of

SIZE = 64, 32
QUICK = 'source_only', 'gradient_reversal', 'max_square', 'mic'


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(methods, 'LEAF', methods.CONFIG.parent / 'smoke' / methods.LEAF.name)
    logger = MMLogger.get_instance('mmengine')
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def weights(method: Method) -> dict:
    state = method.model.state_dict()
    return {name: value.clone() for name, value in state.items() if 'teacher' not in name}


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.campaign]) for name in METHODS]
)
def test_naive_step_and_floor_are_those_of_the_method(name):
    ours, naive = (Method(method_config(name, SIZE)) for _ in range(2))
    before = weights(ours)
    assert before.keys() == weights(naive).keys()
    ours.step()
    naive.naive_step()()
    moved = {key: value - before[key] for key, value in weights(ours).items()}
    assert max(change.abs().max() for change in moved.values()) > 1e-5
    if 'gan' not in name:  # the paper's method has other noise for a joint batch
        for key, value in weights(naive).items():
            torch.testing.assert_close(value, weights(ours)[key], rtol=0, atol=2e-6)
    ours.floor_step()()
    assert ours.resident() > 0


def test_ratios_of_rounds():
    middle, spread = ratio_of([1.0, 2.2, 3.0, 4.4, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert (middle, spread) == (1.0, pytest.approx(0.05))
