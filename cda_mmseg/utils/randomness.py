"""Randomness that is a function of names and numbers, never of history."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stable_hash(*parts: int | str) -> int:
    """Hash integers and strings to 63 bits, alike on every machine and in every process.

    Python's own ``hash`` of a string changes from process to process.

    Args:
        *parts (int | str): What the number shall depend on.

    Returns:
        int: A number in [0, 2**63).
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], 'big') >> 1


@contextmanager
def seeded_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's default generators and restore their states afterwards.

    Dropout, drop-path and noise of any network draw from these generators, so the masks inside the block are a function
    of ``seed`` alone, and the caller's own randomness goes on as if the block had not been there.

    Args:
        seed (int): Seed in [0, 2**63).
        device (torch.device): The device of the network that runs in the block.

    Yields:
        None: Nothing.
    """
    generators = [torch.default_generator]
    if device.type == 'cuda':
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    states = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.manual_seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


@contextmanager
def seeded_sample(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's CPU generators and restore their states afterwards.

    Data transforms draw from any of the three.

    Args:
        seed (int): Seed in [0, 2**63).

    Yields:
        None: Nothing.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        with seeded_torch(seed, torch.device('cpu')):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
