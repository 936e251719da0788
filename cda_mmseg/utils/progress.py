"""Where a training run stands."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingProgress:
    """Tell a model where its training run stands.

    Everything in a step that changes with time or chance is a pure function of these four numbers, which is why
    resuming needs no further state.

    Attributes:
        iteration (int): Zero-based index of the step about to be taken.
        max_iters (int): Length of the whole run in steps.
        seed (int): The run's seed.
        rank (int): Index of this process among the processes of the run.
    """

    iteration: int = 0
    max_iters: int = 1
    seed: int = 0
    rank: int = 0


def iteration_at(share: float, max_iters: int) -> int:
    """Return the first iteration after a share of a run: .1 of 10 is 1, however it rounds."""
    return math.ceil(share * max_iters - 1e-6)
