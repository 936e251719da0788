"""Target labels are never opened, neither by the main process nor by a worker, in a whole run of tools/train.py."""

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.tool_processes import finish_tool, options, output_of, record_opens, start_tool


@pytest.mark.parametrize('workers', [0, 2])
def test_labels_of_the_targets_training_images_are_never_opened(smoke_worlds, tmp_path, workers):
    """An audit hook sees every ``open``; the label files are FIFOs, so opening one by any other way would block."""
    shutil.copytree(smoke_worlds / 'data', tmp_path / 'data')
    target = tmp_path / 'data' / 'worlds' / 'smoke_gta2city' / 'cityscapes'
    images = sorted((target / 'leftImg8bit' / 'train').rglob('*.png'))
    shutil.rmtree(target / 'gtFine' / 'train', ignore_errors=True)
    for image in images:
        stem = str(image).replace('leftImg8bit', 'gtFine').removesuffix('.png')
        Path(stem).parent.mkdir(parents=True, exist_ok=True)
        for kind in ('labelIds', 'labelTrainIds', 'color', 'instanceIds'):
            os.mkfifo(f'{stem}_{kind}.png')

    listing = tmp_path / 'opened.txt'
    schedule = options(workers, train_cfg__max_iters=8, train_cfg__val_interval=4)
    tool = start_tool(tmp_path / 'run', tmp_path, *schedule, prepare=partial(record_opens, str(listing)))
    assert finish_tool(tool) == 0, output_of(tmp_path / 'run')[-3000:]

    opened = [line.split(' ', 1) for line in listing.read_text().splitlines()]
    readers = {process for process, path in opened if 'leftImg8bit/train' in path and path.endswith('.png')}
    assert len(readers) == max(1, workers) and (str(tool.pid) in readers) == (workers == 0)
    assert {Path(path).name for _, path in opened if 'leftImg8bit/train' in path} == {image.name for image in images}
    assert [path for _, path in opened if 'gtFine/train' in path] == []
    # Validation does read the labels of its own images: the hook sees labels.
    assert [path for _, path in opened if 'gtFine/val' in path and path.endswith('_gtFine_labelIds.png')] != []
