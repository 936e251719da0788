"""Target pictures train without labels: nothing opens a label file, and none need exist."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from tests.forked_processes import start_process


def read_pictures(root: str) -> None:
    """Read all pictures with and without a worker, whether the labels are where the config says or nowhere."""
    opened = []
    sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == 'open' else None)
    init_default_scope('mmseg')
    pipeline = [
        dict(type='LoadImage'),
        dict(type='Resize', scale=(32, 16), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(16, 16), cat_max_ratio=1.0),
        dict(type='RandomFlip', prob=0.5),
        dict(type='TagDomain', domain='target'),
        dict(type='PackSegInputs', meta_keys=('img_path', 'domain')),
    ]
    seen = []
    for prefixes, workers in (
        (dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'), 1),
        (dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'), 0),
        (dict(img_path='leftImg8bit/train', seg_map_path='nowhere'), 0),
        (dict(img_path='leftImg8bit/train'), 0),
    ):
        dataset = dict(type='CityscapesDataset', data_root=root, data_prefix=prefixes, pipeline=pipeline)
        sampler = dict(type='DefaultSampler', shuffle=True)
        loader = Runner.build_dataloader(
            dict(batch_size=2, num_workers=workers, sampler=sampler, dataset=dataset), seed=0
        )
        samples = [sample for batch in loader for sample in batch['data_samples']]
        assert all('gt_sem_seg' not in sample and sample.domain == 'target' for sample in samples)
        seen.append(len(samples))
    assert any('leftImg8bit' in name for name in opened)
    assert not any('gtFine' in name or 'nowhere' in name for name in opened), opened
    Path(root, 'seen').write_text(str(seen))


def test_label_files_are_never_opened_and_need_not_exist(tmp_path):
    pictures = tmp_path / 'leftImg8bit' / 'train' / 'altstadt'
    labels = tmp_path / 'gtFine' / 'train' / 'altstadt'
    pictures.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number in range(4):
        stem = f'altstadt_{number:06d}_000019'
        cv2.imwrite(str(pictures / f'{stem}_leftImg8bit.png'), np.full((16, 32, 3), number, np.uint8))
        # Whoever opens a FIFO without a writer waits for ever, in a worker too.
        os.mkfifo(labels / f'{stem}_gtFine_labelTrainIds.png')
        os.mkfifo(labels / f'{stem}_gtFine_labelIds.png')
    process = start_process(read_pictures, str(tmp_path))
    process.join(300)
    process.kill()  # if it still waits
    assert (tmp_path / 'seen').read_text() == '[4, 4, 4, 4]'
