"""Every sample once per epoch."""

import numpy as np
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from cda_mmseg.engine.orders.sample_order import SampleOrder
from cda_mmseg.utils.randomness import stable_hash


@DATA_SAMPLERS.register_module()
class PermutationOrder(SampleOrder):
    """Draw every sample once per epoch, every epoch in an order of its own. The default."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        super().__init__(dataset, seed)
        self._epoch = -1
        self._permutation = np.empty(0, dtype=np.int64)

    def index(self, position: int) -> int:
        """Return the index of the sample at a global position, at least 0."""
        epoch, place = divmod(position, self.length)
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.Philox(stable_hash(self.seed, 'order', epoch)))
            self._epoch, self._permutation = epoch, generator.permutation(self.length)
        return int(self._permutation[place])
