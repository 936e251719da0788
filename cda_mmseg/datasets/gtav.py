"""GTAV ("Playing for Data", Richter et al., ECCV 2016) as downloaded."""

from collections.abc import Sequence

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

    See :class:`SourceDataset` for the arguments. ``data_root`` holds ``images`` and ``labels``.
    """

    LAYOUT = '├── images/00001.png … 24966.png\n└── labels/00001.png … 24966.png'
    DATA_PREFIX = dict(img_path='images', seg_map_path='labels')
    KNOWN_DEFECTS = BROKEN_PAIRS

    def report(self, left_out: Sequence[str], stems: set[str]) -> None:
        """Log the known defects that the folder holds."""
        super().report(left_out, stems)
        odd = [stem for stem in stems if stem.isdecimal() and int(stem) in ODD_SIZES]
        if odd:
            print_log(
                f'GTAVDataset: {len(odd)} frames between {ODD_SIZES[0]} and {ODD_SIZES[-1]} have an odd size in the '
                f'official download; they are used as they are',
                logger='current',
            )
