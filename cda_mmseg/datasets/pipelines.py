"""Look into the pipelines of built data sets."""

from collections.abc import Callable

from mmcv.transforms import LoadAnnotations, TestTimeAug
from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

from .single import single_data_sets
from .transforms.check_files import checked
from .transforms.load_label_ids import LoadLabelIds
from .transforms.tag_domain import TagDomain

LABEL_LOADERS = (LoadAnnotations, LoadLabelIds)


def steps_of(dataset: BaseDataset) -> list[Callable]:
    """List the transforms of a data set; of a test-time augmentation those of its first variant."""
    steps: list[Callable] = []
    for step in dataset.pipeline.transforms:
        steps += step.subroutines[0].transforms if isinstance(step, TestTimeAug) else [step]
    return steps


def check_packed(sample: object, place: str) -> None:
    """Refuse what a pipeline gives to a segmentor if it was not packed for one.

    Args:
        sample (object): What the pipeline gives.
        place (str): Whose it is, for errors.

    Raises:
        TypeError: If it lacks what ``PackSegInputs`` adds.
    """
    if not isinstance(sample, dict) or 'data_samples' not in sample:
        raise TypeError(f"{place}: its pipeline must end with dict(type='PackSegInputs').")


def domain_of(dataset: BaseDataset) -> str:
    """Return the domain that a data set tags its samples with; an empty name without ``TagDomain``."""
    return next((step.domain for step in steps_of(dataset) if isinstance(step, TagDomain)), '')


def domains_of(dataset: Dataset) -> dict[str, int]:
    """Count the images of each domain; those of data sets without ``TagDomain`` under an empty name."""
    images: dict[str, int] = {}
    for _, single in single_data_sets(dataset, ''):
        domain = domain_of(single)
        images[domain] = images.get(domain, 0) + len(single)
    return images


def check_stock_loaders(dataset: Dataset) -> None:
    """Let a data set check its files before mmseg's own loaders read them.

    Args:
        dataset (Dataset): The data set to change, wrapped or not.
    """
    for _, single in single_data_sets(dataset, ''):
        for pipeline in (single.pipeline, *_augmented(single)):
            pipeline.transforms[:] = checked(pipeline.transforms)


def _augmented(dataset: BaseDataset) -> list:
    """List the pipelines of all variants of a test-time augmentation."""
    steps = dataset.pipeline.transforms
    return [variant for step in steps if isinstance(step, TestTimeAug) for variant in step.subroutines]
