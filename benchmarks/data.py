"""Reading training data: images per second of one worker (one process, one thread).

    python -m benchmarks.data [--repeats 15] [--pairs 6]

A GTAV pair, 1914×1052 PNGs, is read, resized, cropped to 1024×512, flipped and packed, as configs/cl_gta2city.py does:

* from the raw files by our transforms, against mmseg's own (LoadImageFromFile, LoadAnnotations on labels that somebody
  has converted to trainIds and saved as grey PNGs by Pillow);
* from a copy that tools/prepare_data.py wrote, against the raw files.

And labels alone, raw and prepared: with their check sums verified, against Pillow's reading of the same bytes without.

All sides run in one process, in turns, and medians are compared; that they give the same tensors is asserted first.
The files are pictures of the built-in streets rendered at 1914×1052 with camera noise (standard deviation 0.7 of 255),
saved by Pillow with its defaults: about 2.3 MB each. They lie in a temporary folder and are in the page cache when they
are timed, so no disk is measured.
"""

import argparse
import io
import os
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import mmcv
import mmengine.fileio as fileio
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

import cda_mmseg.registration  # noqa: F401  registers the data sets and transforms
from benchmarks.measuring import busy, machine, times_in_turns
from benchmarks.rows import Row, format_table
from cda_mmseg.datasets.label_ids import CITYSCAPES_IDS
from cda_mmseg.datasets.preparation import prepare
from cda_mmseg.datasets.transforms.load_label_ids import read_label_ids
from cda_mmseg.datasets.worlds import write_world

CONFIG = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'datasets' / 'gtav_to_cityscapes.py'
SIZE = (1914, 1052)
NOISE = 0.7


def write_raw(folder: Path, pairs: int, size: tuple[int, int] = SIZE) -> None:
    """Write ``gtav/{images,labels}``, and the labels as trainIds into ``gtav/train_ids`` for mmseg's loader."""
    write_world(folder / 'world', 'gta2city', size=size, source=pairs, target_train=1, target_val=1)
    (folder / 'world' / 'gtav').rename(folder / 'gtav')
    (folder / 'gtav' / 'train_ids').mkdir()
    generator = np.random.default_rng(0)
    table = np.array([CITYSCAPES_IDS.get(label_id, 255) for label_id in range(256)], np.uint8)
    for path in sorted((folder / 'gtav' / 'images').iterdir()):
        picture = np.asarray(Image.open(path))
        noisy = np.rint(picture + generator.normal(0, NOISE, picture.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path)
        labels = np.asarray(Image.open(folder / 'gtav' / 'labels' / path.name))
        Image.fromarray(table[labels]).save(folder / 'gtav' / 'train_ids' / path.name)


def data_sets(folder: Path) -> dict[str, BaseDataset]:
    """Build the three sides: 'raw', 'stock' and 'prepared'."""
    init_default_scope('mmseg')
    raw = Config.fromfile(CONFIG).train_dataloader.dataset
    raw.data_root = str(folder / 'gtav')
    prepare(raw, str(folder / 'prepared'), report=lambda line: None)
    stock = dict(
        type='BaseSegDataset',
        data_root=raw.data_root,
        data_prefix=dict(img_path='images', seg_map_path='train_ids'),
        img_suffix='.png',
        seg_map_suffix='.png',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), *raw.pipeline[2:]],
    )
    prepared = dict(raw, data_root=str(folder / 'prepared'))
    return {'raw': DATASETS.build(raw), 'stock': DATASETS.build(stock), 'prepared': DATASETS.build(prepared)}


def assert_same(sides: dict[str, BaseDataset]) -> None:
    """Make sure that all sides do the same work."""
    for index in range(len(sides['raw'])):
        samples = []
        for dataset in sides.values():
            np.random.seed(index)
            samples.append(dataset[index])
        for sample in samples[1:]:
            assert torch.equal(sample['inputs'], samples[0]['inputs'])
            assert torch.equal(sample['data_samples'].gt_sem_seg.data, samples[0]['data_samples'].gt_sem_seg.data)


def images_per_second(sides: dict[str, BaseDataset], repeats: int) -> dict[str, float]:
    """Time all sides in turns; medians."""

    def read_all(dataset: BaseDataset) -> None:
        np.random.seed(0)
        for index in range(len(dataset)):
            dataset[index]

    seconds = times_in_turns({name: partial(read_all, dataset) for name, dataset in sides.items()}, repeats, warm_up=1)
    return {name: len(sides[name]) / statistics.median(values) for name, values in seconds.items()}


def read_unverified(path: str) -> np.ndarray:
    """Read label ids as Pillow gives them."""
    with Image.open(io.BytesIO(fileio.get(path))) as image:
        return np.array(image)


def labels_per_second(folder: Path, repeats: int) -> dict[str, float]:
    """Time labels with and without their check sums in turns; medians."""
    folders = {'raw': folder / 'gtav' / 'labels', 'prepared': folder / 'prepared' / 'labels'}
    readers = {'verified': partial(read_label_ids, encoding='index'), 'unverified': read_unverified}

    def read_all(reader: Callable, paths: list[str]) -> None:
        for path in paths:
            reader(path)

    sides, numbers = {}, {}
    for files, label_folder in folders.items():
        paths = sorted(map(str, label_folder.iterdir()))
        assert all(np.array_equal(readers['verified'](path), read_unverified(path)) for path in paths)
        for name, reader in readers.items():
            sides[f'{files} {name}'] = partial(read_all, reader, paths)
            numbers[f'{files} {name}'] = len(paths)
    seconds = times_in_turns(sides, repeats, warm_up=1)
    return {name: numbers[name] / statistics.median(values) for name, values in seconds.items()}


def rows(device: str = 'cpu', repeats: int = 15, pairs: int = 6) -> list[Row]:
    """Measure everything.

    Args:
        device (str): 'cpu'; files are read there.
        repeats (int): Times each side is run.
        pairs (int): Number of different pairs in each run.

    Returns:
        list[Row]: Raw files and prepared copies.

    Raises:
        ValueError: If the device is another one.
    """
    if device != 'cpu':
        raise ValueError(f"Data is read on the CPU; device must be 'cpu', got {device!r}.")
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            write_raw(Path(folder), pairs)
            sides = data_sets(Path(folder))
            assert_same(sides)
            speed = images_per_second(sides, repeats)
            labels = labels_per_second(Path(folder), repeats)
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])
    cases = [
        ('raw GTAV pair (1914×1052) to training crop', "mmseg's transforms on trainIds", 'raw', 'stock', 1.0, 1.2),
        ('the same from a prepared copy', 'raw', 'prepared', 'raw', 4.0, 8.0),
    ]
    return [
        *(
            _row(name, against, 'images', speed[ours], speed[theirs], must, aim)
            for name, against, ours, theirs, must, aim in cases
        ),
        *(
            _row(
                f'{files} label with its check sums verified',
                'without',
                'labels',
                labels[f'{files} verified'],
                labels[f'{files} unverified'],
                0.9,
                0.97,
            )
            for files in ('raw', 'prepared')
        ),
    ]


def _row(name: str, against: str, unit: str, ours: float, theirs: float, must: float, aim: float) -> Row:
    return Row(
        name=f'{name}, {unit}/s per worker',
        against=against,
        ratio=ours / theirs,
        must=must,
        aim=aim,
        ours=f'{ours:.1f} {unit}/s',
        theirs=f'{theirs:.1f} {unit}/s',
        bigger_is_better=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description='Images per second of one worker.')
    parser.add_argument('--repeats', type=int, default=15, help='times each side is run')
    parser.add_argument('--pairs', type=int, default=6, help='number of different pairs in each run')
    options = parser.parse_args()
    reason = busy()
    if reason:
        parser.exit(1, f'{reason}\n')
    load = os.getloadavg()[0]
    print(format_table(rows('cpu', options.repeats, options.pairs)))
    print(
        f'\n{machine("cpu", 1)}, OpenCV {cv2.__version__}, mmcv {mmcv.__version__}; {options.pairs} pairs, '
        f'{options.repeats} repeats in turns, medians; load {load:.2f} at the start.'
    )


if __name__ == '__main__':
    main()
