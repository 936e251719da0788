"""What the labeled synthetic data sets have in common."""

import hashlib
import os.path as osp
from collections.abc import Callable, Sequence

import mmengine
import mmengine.fileio as fileio
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset, CityscapesDataset

from cda_mmseg.utils.arguments import lists_arguments

PARTS = ('train', 'monitor')
MAX_LISTED_NAMES = 5


class SourceDataset(BaseSegDataset):
    """Base of the labeled source data sets, read in their official layout with the 19 Cityscapes classes.

    Neither GTAV nor SYNTHIA-RAND-CITYSCAPES comes with a validation split that the field uses. To follow the source
    score during training a fixed sample serves as ``part='monitor'``: the ``monitor_size`` names with the smallest
    SHA-256, at most a quarter of the images. The sample depends on the names alone, not on their order, the machine
    or a seed. By default it stays in training, as in the paper, so its score is one of *seen* images;
    ``holdout=True``, set on both parts, removes it from training.

    ``metainfo['source_part']`` is ``dict(part, seen_in_training)``, alike in several sources that mmengine's
    ``ConcatDataset`` joins; with a data set that lacks the key it needs ``ignore_keys='source_part'``.

    Subclasses give ``LAYOUT`` (the folder tree shown in errors), ``DATA_PREFIX``, ``KNOWN_DEFECTS`` and, where
    names of images and labels begin differently, ``BEGINNINGS``.

    Args:
        data_root (str | None): Folder that holds the two prefixes; without it they are paths of their own.
        data_prefix (dict, optional): ``img_path`` and ``seg_map_path`` below ``data_root``; official by default.
        part (str): ``'train'`` or ``'monitor'``.
        monitor_size (int): Number of images in the monitor sample.
        holdout (bool): Whether the monitor sample is left out of ``part='train'``.
        ann_file (str): File with the name of an image, without suffix, a line: of the part, only these are used.
        exclude (Sequence[str], optional): Stems of image files that are left out; the known defects by default.
        img_suffix (str): Suffix of the images.
        seg_map_suffix (str): Suffix of the labels.
        metainfo (dict, optional): Overrides the classes and the palette, see mmseg.
        filter_cfg (dict, optional): See mmengine's ``BaseDataset``; read by subclasses alone.
        indices (int | Sequence[int], optional): Use the first images, or these, of the part only.
        serialize_data (bool): Whether the list is serialised to be shared by the workers.
        pipeline (Sequence[dict | Callable]): Transforms.
        test_mode (bool): Whether the data set is used for evaluation.
        lazy_init (bool): Whether to leave the folders unread for now.
        max_refetch (int): How often another image is tried when the pipeline returns None.
        ignore_index (int): Label that is ignored.
        reduce_zero_label (bool): Whether ``LoadAnnotations`` takes label 0 for ignored; ``LoadLabelIds`` maps instead.
        backend_args (dict, optional): Arguments of mmengine's file backend.

    Raises:
        FileNotFoundError: When a folder or a label is missing; shows the folder tree expected.
        ValueError: When no image is found or an argument is invalid.
        TypeError: For an argument that is not taken; lists those that are.
    """

    METAINFO = CityscapesDataset.METAINFO
    LAYOUT: str
    DATA_PREFIX: dict
    KNOWN_DEFECTS: Sequence[str] = ()
    BEGINNINGS: tuple[str, str] = ('', '')  # of the names of images and labels

    @lists_arguments
    def __init__(
        self,
        data_root: str | None = None,
        data_prefix: dict | None = None,
        part: str = 'train',
        monitor_size: int = 500,
        holdout: bool = False,
        exclude: Sequence[str] | None = None,
        ann_file: str = '',
        img_suffix: str = '.png',
        seg_map_suffix: str = '.png',
        metainfo: dict | None = None,
        filter_cfg: dict | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
        ignore_index: int = 255,
        reduce_zero_label: bool = False,
        backend_args: dict | None = None,
    ) -> None:
        name = type(self).__name__
        if part not in PARTS:
            raise ValueError(f"{name}: part must be 'train' or 'monitor', got {part!r}")
        if monitor_size < 1:
            raise ValueError(f'{name}: monitor_size must be at least 1, got {monitor_size}')
        data_prefix = dict(self.DATA_PREFIX if data_prefix is None else data_prefix)
        missing = {'img_path', 'seg_map_path'} - data_prefix.keys()
        if missing:
            raise ValueError(f'{name}: data_prefix lacks {sorted(missing)}')
        self.part = part
        self.monitor_size = monitor_size
        self.holdout = holdout
        self.exclude = frozenset(self.KNOWN_DEFECTS if exclude is None else exclude)
        super().__init__(
            ann_file=ann_file,
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            metainfo=metainfo,
            filter_cfg=filter_cfg,
            data_root=data_root,
            data_prefix=data_prefix,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
            ignore_index=ignore_index,
            reduce_zero_label=reduce_zero_label,
            backend_args=backend_args,
        )

    def load_data_list(self) -> list[dict]:
        """List the pairs of this part."""
        image_folder, label_folder = self.data_prefix['img_path'], self.data_prefix['seg_map_path']
        image, label = self.BEGINNINGS
        stems = self._stems(image_folder, image, self.img_suffix)
        if not stems:
            raise ValueError(self._explain(f'no *{self.img_suffix} image in {image_folder}'))
        left_out, stems = sorted(stems & self.exclude), stems - self.exclude
        monitored = monitor_sample(stems, self.monitor_size)
        if self.part == 'monitor':
            stems = monitored
        elif self.holdout:
            stems = stems - monitored
        if self.ann_file:
            lines = mmengine.list_from_file(self.ann_file, backend_args=self.backend_args)
            stems = stems & {line.strip().removeprefix(image) for line in lines}
        if unlabeled := self.unlabeled(stems):
            raise FileNotFoundError(
                self._explain(
                    f'{len(unlabeled)} of {len(stems)} images have no label in {label_folder}: '
                    + ', '.join(image + stem + self.img_suffix for stem in unlabeled[:MAX_LISTED_NAMES])
                    + (', …' if len(unlabeled) > MAX_LISTED_NAMES else '')
                )
            )
        if not stems:
            raise ValueError(self._explain(f'every image in {image_folder} is excluded'))
        self._metainfo['source_part'] = dict(
            part=self.part,
            seen_in_training=self.part == 'train' or not self.holdout,
        )
        if self.part == 'train':  # every job has this part, so defects are reported once
            self.report(left_out, stems)
        return [
            dict(
                img_path=osp.join(image_folder, image + stem + self.img_suffix),
                seg_map_path=osp.join(label_folder, label + stem + self.seg_map_suffix),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for stem in sorted(stems)
        ]

    def unlabeled(self, stems: set[str] | None = None) -> list[str]:
        """List the images without a label.

        Args:
            stems (set[str], optional): Stems of the images to look at; by default those that are not excluded.
        """
        image, label = self.BEGINNINGS
        if stems is None:
            stems = self._stems(self.data_prefix['img_path'], image, self.img_suffix) - self.exclude
        return sorted(stems - self._stems(self.data_prefix['seg_map_path'], label, self.seg_map_suffix))

    def report(self, left_out: Sequence[str], stems: set[str]) -> None:
        """Log what is known to be wrong with the files found.

        Args:
            left_out (Sequence[str]): Stems that were excluded.
            stems (set[str]): Stems in use.
        """
        if left_out:
            print_log(f'{type(self).__name__}: left out {", ".join(left_out)} (exclude)', logger='current')

    def _stems(self, folder: str, beginning: str, suffix: str) -> set[str]:
        """List the names in a folder without their beginning and suffix."""
        if not fileio.isdir(folder, backend_args=self.backend_args):
            raise FileNotFoundError(self._explain(f'no folder {folder}'))
        names = fileio.list_dir_or_file(folder, list_dir=False, suffix=suffix, backend_args=self.backend_args)
        return {name[len(beginning) : -len(suffix)] for name in names if name.startswith(beginning)}

    def _explain(self, problem: str) -> str:
        """Add the folder tree expected to a message."""
        root = '' if self.data_root is None else f'{self.data_root}/\n'
        return f'{type(self).__name__}: {problem}. Expected layout:\n{root}{self.LAYOUT}'


def monitor_sample(names: set[str], size: int) -> set[str]:
    """Choose a fixed sample of names: those with the smallest SHA-256.

    Args:
        size (int): Wanted number; a quarter of the names (at least one) if that is less.

    Returns:
        set[str]: The sample.
    """
    size = max(1, min(size, len(names) // 4))
    return set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:size])
