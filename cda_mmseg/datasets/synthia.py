"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016) as downloaded."""

from collections.abc import Callable, Sequence

from mmseg.registry import DATASETS

from .source_dataset import SourceDataset

VOID_FRAMES = ('0006372',)
"""Frames without one labeled pixel."""


@DATASETS.register_module()
class SynthiaDataset(SourceDataset):
    """SYNTHIA-RAND-CITYSCAPES in its official layout: 9,400 pairs, 16-bit three-channel labels with the class in red.

    Read the labels with ``LoadLabelIds(encoding='red16', id_map='synthia')``. The one frame that is void throughout is
    left out by default (it would train too, with a loss of zero).

    Args:
        data_root (str): The folder ``RAND_CITYSCAPES``.
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

    LAYOUT = '├── RGB/0000000.png … 0009399.png\n└── GT/LABELS/0000000.png … 0009399.png'

    def __init__(
        self,
        data_root: str,
        data_prefix: dict | None = None,
        part: str = 'train',
        monitor_size: int = 500,
        holdout: bool = False,
        exclude: Sequence[str] = VOID_FRAMES,
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
            data_prefix=data_prefix or dict(img_path='RGB', seg_map_path='GT/LABELS'),
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
