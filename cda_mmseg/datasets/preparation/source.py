"""The data set that is copied, and how a config names its copy."""

import os
from collections.abc import Mapping

from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS

SUFFIXES = {'img_path': 'img_suffix', 'seg_map_path': 'seg_map_suffix'}
"""Where a data set's config has the suffix of a file."""


def list_all_pairs(config: Mapping) -> tuple[dict, BaseDataset]:
    """Build a data set that lists all of its training pairs, so that a copy serves every later choice among them.

    Args:
        config (Mapping): Config of the data set.

    Returns:
        tuple[dict, BaseDataset]: The config without choices, and its data set, without a pipeline.

    Raises:
        OSError: If folders or labels are missing.
        ValueError: If there are no images, or the config is not that of one data set with a ``data_root``.
    """
    config = {key: value for key, value in config.items() if key != 'indices'}
    if config.get('holdout'):
        config['holdout'] = False
    if config.get('part', 'train') != 'train':
        raise ValueError(f"the data set has part={config['part']!r}; prepare part='train', it holds all images")
    kind = DATASETS.get(config['type'])
    if kind is None:
        raise ValueError(f'there is no data set {config["type"]}')
    if not issubclass(kind, BaseDataset) or not config.get('data_root'):
        raise ValueError(f'{config["type"]} is no single data set with a data_root; prepare its parts one by one')
    dataset = build(config)
    if not len(dataset):
        raise ValueError(f'{dataset.data_root}: no images found; check data_prefix and img_suffix')
    return config, dataset


def build(config: Mapping) -> BaseDataset:
    """Build a data set without its pipeline.

    Returns:
        BaseDataset: The data set, its files listed.
    """
    return DATASETS.build(dict(config, pipeline=[], lazy_init=False, serialize_data=False))


def check_folders(dataset: BaseDataset, out: str) -> None:
    """Refuse folders whose names a copy cannot have, or whose files a copy would be mixed with.

    Args:
        dataset (BaseDataset): The source.
        out (str): Folder of the copy.

    Raises:
        ValueError: If one of its folders lies outside ``data_root``, or the copy would lie in one of them.
    """
    for key, folder in dataset.data_prefix.items():
        if folder:
            # As written: folders below data_root may be links.
            if os.path.relpath(folder, dataset.data_root).startswith(os.pardir):
                raise ValueError(
                    f'data_prefix.{key} leads out of data_root ({folder}); use a data_root above all files'
                )
            if os.path.commonpath([os.path.realpath(folder), os.path.realpath(out)]) == os.path.realpath(folder):
                raise ValueError(f'{out} lies among the files of the source ({folder}); choose another folder')


def suffixes_of_copy(dataset: BaseDataset, image_format: str, labels: bool) -> dict[str, str]:
    """Name the suffixes of a copy's files.

    Args:
        dataset (BaseDataset): The source.
        image_format (str): 'png' or 'jpg'.
        labels (bool): Whether the copy has labels.

    Returns:
        dict[str, str]: ``img_suffix`` and, with labels, ``seg_map_suffix``.
    """
    extensions = dict(img_suffix=f'.{image_format}', **(dict(seg_map_suffix='.png') if labels else {}))
    return {key: os.path.splitext('name' + getattr(dataset, key))[0][4:] + value for key, value in extensions.items()}


def check_listing(source: BaseDataset, config: Mapping) -> None:
    """Make sure that training finds the same pairs in the same order in a copy.

    Args:
        config (Mapping): Config of the copy.

    Raises:
        ValueError: If it does not.
    """
    copy = build(config)
    if _names(copy) != _names(source):
        raise ValueError(
            f'{copy.data_root} lists other images than {source.data_root}: images were added to it, or there are two '
            f'of one name that differ in their suffix. Prepare it into a new folder.'
        )


def _names(dataset: BaseDataset) -> list[str]:
    """List images relative to the root, without their suffix."""
    paths = (dataset.get_data_info(index)['img_path'] for index in range(len(dataset)))
    return [os.path.relpath(path, dataset.data_root).removesuffix(dataset.img_suffix) for path in paths]
