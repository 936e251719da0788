"""What the training data must satisfy before the first step."""

import functools
import os
from collections.abc import Mapping

from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from cda_mmseg.datasets.preparation import check_prepared_copy


def build_training_set(config: dict, key: str) -> Dataset:
    """Build a data set and list its files, with one clear error where there are none.

    Args:
        config (dict): The data set's config.
        key (str): Where it stands in the run's config, for errors.

    Returns:
        Dataset: The data set, fully initialised.

    Raises:
        OSError: If a folder is missing or may not be read.
        ValueError: If no image is found, or the images are a prepared copy that does not fit the config.
    """
    try:
        dataset = DATASETS.build(config)
        dataset.full_init()
    except OSError as error:
        if error.filename is None:
            raise
        raise type(error)(
            f'{key} cannot read {error.filename} ({error.strerror}). Check its data_root, data_prefix and permissions.'
        ) from error
    except ValueError as error:
        # mmengine joins the serialised entries of a data set, and NumPy joins no empty list.
        if 'at least one array to concatenate' not in str(error):
            raise
        raise ValueError(
            f'{key} finds no images: data_root={config.get("data_root")!r}, data_prefix={config.get("data_prefix")}. '
            'Check both, and img_suffix.'
        ) from error
    check_prepared_copy(dataset, config, key)
    return dataset


def check_classes(dataset: Dataset, num_classes: int, key: str) -> None:
    """Compare the classes of the labels with those that the head scores.

    Args:
        dataset (Dataset): The labelled training data; ``metainfo['classes']`` names its classes.
        num_classes (int): Classes of the decode head.
        key (str): Where the data set stands in the run's config, for errors.

    Raises:
        ValueError: If the numbers differ.
    """
    classes = dataset.metainfo.get('classes')
    if classes is not None and len(classes) != num_classes:
        raise ValueError(
            f'model.decode_head.num_classes is {num_classes}, but {key} has {len(classes)} classes: '
            f'{", ".join(classes)}. Set num_classes={len(classes)}, or metainfo.classes of the data set.'
        )


def check_domains_differ(datasets: Mapping[str, Dataset]) -> None:
    """Refuse a target whose images are all images of the source: there is nothing to adapt to.

    A target that holds labelled source images *among others* is left alone, as semi-supervised training has it.

    Args:
        datasets (Mapping[str, Dataset]): Data set per domain.

    Raises:
        ValueError: If no target image lies outside the source.
    """
    images = {domain: _image_paths(dataset) for domain, dataset in datasets.items()}
    if images['target'] and images['target'] <= images['source']:
        raise ValueError(
            f'The target is the source: all {len(images["target"])} images of target_dataloader.dataset, such as '
            f'{min(images["target"])}, are images of train_dataloader.dataset too. Check their data_root.'
        )


def _image_paths(dataset: Dataset) -> set[str]:
    """List a data set's images with links in their folders resolved; data sets of another kind have none."""
    get_data_info = getattr(dataset, 'get_data_info', None)
    if get_data_info is None:
        return set()
    resolved = functools.cache(os.path.realpath)
    paths = (get_data_info(index).get('img_path') for index in range(len(dataset)))
    return {os.path.join(resolved(os.path.dirname(path)), os.path.basename(path)) for path in paths if path}
