"""GTAV ("Playing for Data", Richter et al., ECCV 2016) as downloaded."""

from collections.abc import Callable, Sequence

from mmengine.logging import print_log
from mmseg.registry import DATASETS

from .source_dataset import SourceDataset

BROKEN_PAIRS = ('15188', '17705')
"""Pairs whose label does not belong to the image."""

ODD_SIZES = range(20801, 20861)
"""Frames that are smaller than the others (1276×697 instead of 1914×1052); they are used as they are."""


@DATASETS.register_module()
class GTAVDataset(SourceDataset):
    """GTAV in its official layout: 24,966 pairs, palette PNG labels whose index is the Cityscapes label id.

    Read the labels with ``LoadLabelIds(encoding='index', id_map='cityscapes')``. Known defects are handled and logged
    once: two broken pairs are left out by default, frames of an odd size are kept.

    Args:
        data_root (str): Folder with ``images`` and ``labels``.
        data_prefix (dict, optional): ``img_path`` and ``seg_map_path`` below ``data_root``.
        part (str): ``'train'`` or ``'monitor'``, see :class:`SourceDataset`.
        monitor_size (int): Number of images in the monitor sample.
        holdout (bool): Whether the monitor sample is left out of training.
        exclude (Sequence[str]): Stems that are left out.
        img_suffix (str): Suffix of the images.
        seg_map_suffix (str): Suffix of the labels.
        metainfo (dict, optional): Overrides the classes and the palette.
        indices (int | Sequence[int], optional): Use the first images, or these, of the part only.
        serialize_data (bool): Whether the list is serialised.
        pipeline (Sequence[dict | Callable]): Transforms.
        test_mode (bool): Whether the data set is used for evaluation.
        lazy_init (bool): Whether to leave the folders unread for now.
        max_refetch (int): How often another image is tried when the pipeline returns None.
        ignore_index (int): Label that is ignored.
        backend_args (dict, optional): Arguments of mmengine's file backend.

    Raises:
        FileNotFoundError: When a folder or a label is missing.
        ValueError: When no image is found or an argument is invalid.
    """

    LAYOUT = '├── images/00001.png … 24966.png\n└── labels/00001.png … 24966.png'

    def __init__(
        self,
        data_root: str,
        data_prefix: dict | None = None,
        part: str = 'train',
        monitor_size: int = 500,
        holdout: bool = False,
        exclude: Sequence[str] = BROKEN_PAIRS,
        img_suffix: str = '.png',
        seg_map_suffix: str = '.png',
        metainfo: dict | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
        ignore_index: int = 255,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(
            data_root=data_root,
            data_prefix=data_prefix or dict(img_path='images', seg_map_path='labels'),
            part=part,
            monitor_size=monitor_size,
            holdout=holdout,
            exclude=exclude,
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            metainfo=metainfo,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
            ignore_index=ignore_index,
            backend_args=backend_args,
        )

    def report(self, left_out: Sequence[str], stems: set[str]) -> None:
        """Log the known defects that the folder holds.

        Args:
            left_out (Sequence[str]): Stems that were excluded.
            stems (set[str]): Stems in use.
        """
        super().report(left_out, stems)
        odd = [stem for stem in stems if stem.isdecimal() and int(stem) in ODD_SIZES]
        if odd:
            print_log(
                f'GTAVDataset: {len(odd)} frames between {ODD_SIZES[0]} and {ODD_SIZES[-1]} have an odd size in the '
                f'official download; they are used as they are',
                logger='current',
            )
