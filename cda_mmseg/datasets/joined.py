"""Labelled data of several kinds in one data set."""

from bisect import bisect_right
from collections.abc import Sequence

from mmengine.dataset import BaseDataset
from torch.utils.data import ConcatDataset


class JoinedDataset(ConcatDataset):
    """Put built data sets of the same classes one after the other.

    mmengine's ``ConcatDataset`` takes no data sets that are joined already, and none whose palettes differ.

    Args:
        datasets: The data sets; the meta information is that of the first.
        keys: Where they stand in the run's config, for errors.

    Raises:
        ValueError: If their classes differ.
    """

    def __init__(self, datasets: Sequence[BaseDataset], keys: Sequence[str]) -> None:
        super().__init__(datasets)
        first, *others = (list(dataset.metainfo.get('classes') or ()) for dataset in datasets)
        for key, classes in zip(keys[1:], others, strict=True):
            if classes != first:
                raise ValueError(
                    f'{key} has the classes {", ".join(classes)}, but {keys[0]} has {", ".join(first)}. Give both the '
                    'same metainfo.classes.'
                )

    @property
    def metainfo(self) -> dict:
        """dict: That of the first data set."""
        return self.datasets[0].metainfo

    def get_data_info(self, index: int) -> dict:
        """Say which files a sample is read from."""
        part = bisect_right(self.cumulative_sizes, index)
        return self.datasets[part].get_data_info(index - sum(map(len, self.datasets[:part])))
