"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016) as downloaded."""

from mmseg.registry import DATASETS

from .source_dataset import SourceDataset

VOID_FRAMES = ('0006372',)
"""Frames without one labeled pixel."""


@DATASETS.register_module()
class SynthiaDataset(SourceDataset):
    """SYNTHIA-RAND-CITYSCAPES in its official layout: 9,400 pairs, 16-bit three-channel labels with the class in red.

    Read the labels with ``LoadLabelIds(encoding='red16', id_map='synthia')``. The one frame that is void throughout is
    left out by default (it would train too, with a loss of zero).

    See :class:`SourceDataset` for the arguments. ``data_root`` is the folder ``RAND_CITYSCAPES``.
    """

    LAYOUT = '├── RGB/0000000.png … 0009399.png\n└── GT/LABELS/0000000.png … 0009399.png'
    DATA_PREFIX = dict(img_path='RGB', seg_map_path='GT/LABELS')
    KNOWN_DEFECTS = VOID_FRAMES
