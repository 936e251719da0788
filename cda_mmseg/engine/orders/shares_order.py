"""Several data sets, each with a share of the samples."""

from collections.abc import Sequence
from fractions import Fraction

from mmengine.dataset import ConcatDataset
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from cda_mmseg.engine.orders.sample_order import SampleOrder
from cda_mmseg.utils.randomness import stable_hash


@DATA_SAMPLERS.register_module()
class SharesOrder(SampleOrder):
    """Draw from each part of a ``ConcatDataset`` with a share of its own, evenly spread, whatever its size.

    Twenty labelled target pictures beside thousands of synthetic ones are seen often enough so. Within a part every
    sample is drawn once per epoch of that part, unless the part has an order of its own.

    Args:
        dataset (ConcatDataset): The data set.
        seed (int): Seed of the order.
        shares (Sequence[float]): Share of each part, greater than 0; they are scaled to a sum of 1.
        orders (Sequence[dict | None] | None): Order within each part, such as ``dict(type='RareClassOrder')``.

    Raises:
        TypeError: If the data set has no parts.
        ValueError: If there is not one positive share per part, or not one order.
    """

    def __init__(
        self,
        dataset: ConcatDataset,
        seed: int,
        shares: Sequence[float],
        orders: Sequence[dict | None] | None = None,
    ) -> None:
        super().__init__(dataset, seed)
        parts = getattr(dataset, 'datasets', None)
        if parts is None:
            raise TypeError(f'SharesOrder needs a ConcatDataset, got a {type(dataset).__name__}.')
        if len(shares) != len(parts) or not all(share > 0 for share in shares):
            raise ValueError(f'SharesOrder.shares must be {len(parts)} positive numbers, one per part, got {shares}.')
        orders = orders or [None] * len(parts)
        if len(orders) != len(parts):
            raise ValueError(f'SharesOrder.orders must be {len(parts)} orders, one per part, got {orders}.')
        self._orders = [
            build_order(order, part, stable_hash(seed, 'part', number))
            for number, (order, part) in enumerate(zip(orders, parts, strict=True))
        ]
        self.max_draws = max(order.max_draws for order in self._orders)
        self._offsets = [sum(len(part) for part in parts[:number]) for number in range(len(parts))]
        # Exact numbers: floor(position * share) must count alike at any position.
        exact = [Fraction(share).limit_denominator(10**6) for share in shares]
        self._shares = [share / sum(exact[: number + 1]) for number, share in enumerate(exact)]

    def index(self, position: int) -> int:
        """Return the index of the sample at a global position, at least 0."""
        part, place = self._place(position)
        return self._offsets[part] + self._orders[part].index(place)

    def accepts(self, sample: dict, position: int) -> bool:
        """Ask the order of the part."""
        part, place = self._place(position)
        return self._orders[part].accepts(sample, place)

    def _place(self, position: int) -> tuple[int, int]:
        """Find the part that a position draws from, and the position within it."""
        for part in range(len(self._orders) - 1, 0, -1):
            # This part has drawn floor(position * share) samples before; the parts before it share the rest.
            drawn = position * self._shares[part] // 1
            if (position + 1) * self._shares[part] // 1 > drawn:
                return part, int(drawn)
            position -= int(drawn)
        return 0, position


def build_order(config: dict | None, dataset: Dataset, seed: int) -> SampleOrder:
    """Build the order that a config names; None is every sample once per epoch."""
    return DATA_SAMPLERS.build({**(config or dict(type='PermutationOrder')), 'dataset': dataset, 'seed': seed})
