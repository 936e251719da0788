"""The data sets that wrappers join or repeat."""

from collections.abc import Iterator

from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset


def single_data_sets(dataset: Dataset, key: str) -> Iterator[tuple[str, BaseDataset]]:
    """Walk over the data sets that a wrapper such as ``ConcatDataset`` joins.

    Args:
        dataset (Dataset): A data set, wrapped or not.
        key (str): Where it stands in the config.

    Yields:
        tuple[str, BaseDataset]: Where each data set with files of its own stands, and the data set.
    """
    if isinstance(dataset, BaseDataset):
        yield key, dataset
    elif hasattr(dataset, 'datasets'):
        for number, member in enumerate(dataset.datasets):
            yield from single_data_sets(member, f'{key}.datasets.{number}')
    elif hasattr(dataset, 'dataset'):
        yield from single_data_sets(dataset.dataset, f'{key}.dataset')
