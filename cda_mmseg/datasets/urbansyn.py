"""UrbanSyn (Gómez et al., 2023) as downloaded."""

from mmseg.registry import DATASETS

from .source_dataset import SourceDataset


@DATASETS.register_module()
class UrbanSynDataset(SourceDataset):
    """UrbanSyn in its official layout: 7,539 pairs of 2048×1024, labels with the 19 trainIds and 19 for unlabeled.

    Read the labels with ``LoadLabelIds(id_map='urbansyn')``.

    See :class:`SourceDataset` for the arguments. ``data_root`` holds ``rgb`` and ``ss``.
    """

    LAYOUT = '├── rgb/rgb_0001.png … rgb_7539.png\n└── ss/ss_0001.png … ss_7539.png'
    DATA_PREFIX = dict(img_path='rgb', seg_map_path='ss')
    BEGINNINGS = ('rgb_', 'ss_')
