"""Validate two domains in one pass."""

from collections.abc import Sequence

from mmengine.dataset import BaseDataset, ConcatDataset
from mmseg.registry import DATASETS


@DATASETS.register_module()
class BothDomainsDataset(ConcatDataset):
    """Put the validation data of target and source one after the other; ``DomainIoUMetric`` tells them apart.

    Args:
        datasets (Sequence[dict | BaseDataset]): The data sets, with the same classes; their pipelines tag the samples
            with ``TagDomain``.
        pipeline (Sequence[dict]): How an image without a label is read. The data sets have pipelines of their own; this
            one is for mmseg's inferencer, which looks for it here in a config.
        lazy_init (bool): Whether the file lists are read later.
        ignore_keys (Sequence[str]): Keys of the meta information in which the data sets may differ.
    """

    def __init__(
        self,
        datasets: Sequence[dict | BaseDataset],
        pipeline: Sequence[dict] = (),
        lazy_init: bool = False,
        ignore_keys: Sequence[str] = ('source_part',),
    ) -> None:
        self.pipeline = list(pipeline)
        super().__init__(list(datasets), lazy_init, list(ignore_keys))
        # mmengine keeps the first data set's meta information alone; the metric wants to know the source's part.
        for dataset in self.datasets:
            if 'source_part' in dataset.metainfo:
                self._metainfo['source_part'] = dataset.metainfo['source_part']
