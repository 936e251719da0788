"""Validate several domains in one pass."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from mmseg.registry import DATASETS

from cda_mmseg.datasets.pipelines import check_stock_loaders
from cda_mmseg.datasets.test_time_augmentation import augment_pipeline
from cda_mmseg.datasets.transforms.image_files import READING_ERRORS, raise_named
from cda_mmseg.datasets.transforms.tag_domain import TagDomain, check_domains, role_of


@DATASETS.register_module()
class BothDomainsDataset(ConcatDataset):
    """Put the validation data of targets and sources one after the other; ``DomainIoUMetric`` tells them apart.

    Args:
        datasets (Sequence[dict | BaseDataset]): The data sets, any number, with the same classes; their pipelines tag
            the samples with ``TagDomain``.
        pipeline (Sequence[dict]): How an image without a label is read. The data sets have pipelines of their own; this
            one is for mmseg's inferencer, which looks for it here in a config. One with ``TestTimeAug``, which mmseg's
            ``test.py --tta`` puts here, is laid over those of the data sets, see :func:`augment_pipeline`.
        lazy_init (bool): Whether the file lists are read later.
        ignore_keys (Sequence[str]): Keys of the meta information in which the data sets may differ.

    Raises:
        ValueError: If there are none, or they differ in their classes, are tagged ``target`` beside ``target_…``, or
            cannot be augmented.
        TypeError: If data sets that are built already shall be augmented.
    """

    def __init__(
        self,
        datasets: Sequence[dict | BaseDataset],
        pipeline: Sequence[dict] = (),
        lazy_init: bool = False,
        ignore_keys: Sequence[str] = ('source_part',),
    ) -> None:
        self.pipeline = list(pipeline)
        datasets = list(datasets)
        if not datasets:
            raise ValueError('BothDomainsDataset: datasets is empty, so there is nothing to score.')
        if any(step['type'] == 'TestTimeAug' for step in self.pipeline):
            for number, member in enumerate(datasets):
                if not isinstance(member, Mapping):
                    raise TypeError(f'datasets.{number} is built already: give its config to augment it at test time.')
                key = f'datasets.{number}.pipeline'
                datasets[number] = dict(member, pipeline=augment_pipeline(member['pipeline'], self.pipeline, key))
        try:
            super().__init__(datasets, lazy_init, list(ignore_keys))
        except ValueError as error:
            lists = [list(one.metainfo.get('classes') or ()) for one in self.datasets]
            other = next((number for number, classes in enumerate(lists) if classes != lists[0]), None)
            if other is None:
                raise
            raise ValueError(
                'The data sets scored in one pass need the same metainfo.classes, but number 0 has '
                f'{", ".join(lists[0])}, and number {other} has {", ".join(lists[other])}. Map the ids of both to one '
                'list with LoadLabelIds(id_map=...): 255 ignores what it does not have.'
            ) from error
        check_stock_loaders(self)
        pipelines = [getattr(member, 'pipeline', None) for member in self.datasets]
        steps = [step for pipeline in pipelines for step in getattr(pipeline, 'transforms', ())]
        check_domains({step.domain for step in steps if isinstance(step, TagDomain)})
        # mmengine keeps the first data set's meta information alone; the metric wants to know the sources' parts.
        parts = [one.metainfo['source_part'] for one in self.datasets if 'source_part' in one.metainfo]
        if parts:
            self._metainfo['source_part'] = dict(
                parts[0], seen_in_training=any(part['seen_in_training'] for part in parts)
            )

    def __getitem__(self, index: int) -> dict:
        """Read a sample; errors name it."""
        try:
            return super().__getitem__(index)
        except READING_ERRORS as error:
            raise_named(error, self.get_data_info(index).get('img_path'), 'scoring')


def select_role(dataset: torch.utils.data.Dataset, role: str) -> torch.utils.data.Dataset:
    """Select the validation images of one side.

    Args:
        dataset (Dataset): A :class:`BothDomainsDataset`, or a data set of one domain.
        role (str): ``'source'`` or ``'target'``.

    Returns:
        Dataset: Their samples, one domain after the other.

    Raises:
        ValueError: If there are none.
    """
    members = [
        member
        for member in getattr(dataset, 'datasets', [dataset])
        if len(member) > 0 and role_of(member[0]['data_samples'].domain) == role
    ]
    if not members:
        raise ValueError(f'the validation data has no images of the domain {role!r}')
    return torch.utils.data.ConcatDataset(members)
