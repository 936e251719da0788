"""What an order of samples is."""

from abc import ABC, abstractmethod

from torch.utils.data import Dataset


class SampleOrder(ABC):
    """Map global positions to samples; a loader's ``order`` names one.

    The global position counts the samples that all processes of a run have drawn from a data set. The same position has
    the same sample on any number of processes, whatever was asked before.

    Args:
        dataset (Dataset): The data set, fully initialised.
        seed (int): Seed of the order.

    Attributes:
        max_draws: How often a sample is drawn anew, with another augmentation, until :meth:`accepts` takes it.

    Raises:
        ValueError: If there are no samples.
    """

    max_draws: int = 1

    def __init__(self, dataset: Dataset, seed: int) -> None:
        if len(dataset) < 1:
            raise ValueError('A training data set has no samples: check its data_root and data_prefix.')
        self.length = len(dataset)
        self.seed = seed

    @abstractmethod
    def index(self, position: int) -> int:
        """Return the index of the sample at a global position, at least 0."""

    def accepts(self, sample: dict, position: int) -> bool:
        """Tell whether a sample, augmented, will do at a position; the last of ``max_draws`` is taken in any case."""
        return True
