"""A contact sheet shows what the network sees: the pictures of the run's first samples, whole, in their colours."""

import copy

import cv2
import numpy as np
import torch
from mmengine.hooks import Hook
from PIL import Image

from cda_mmseg.engine import UDARunner
from cda_mmseg.inspection.browse import _to_picture, browse
from cda_mmseg.visualization.contact_sheet import GAP, LINE, WIDTH


def cell(sheet: Image.Image, row: int, column: int, height: int) -> np.ndarray:
    """Cut a picture of 64×32 pixels out of a sheet."""
    left, top = GAP + column * (WIDTH + GAP), GAP + row * (LINE + height + GAP) + LINE
    whole = sheet.crop((left, top, left + WIDTH, top + height))
    return np.array(whole.resize((64, 32), Image.Resampling.NEAREST))


def test_sheets_show_the_first_samples_of_the_run(smoke_config, tmp_path):
    config = smoke_config('cl_gta2city')
    sheets = {path.stem: Image.open(path) for path in browse(config, tmp_path / 'sheets', 2)}
    assert set(sheets) == {'source', 'target', 'validation_source', 'validation_target'}

    batches = []
    config.work_dir = str(tmp_path / 'run')
    config.train_cfg.update(max_iters=2)
    config.update(val_cfg=None, val_dataloader=None, val_evaluator=None)
    runner = UDARunner.from_cfg(config)
    hook = Hook()
    hook.before_train_iter = lambda *_, data_batch, **__: batches.append(copy.deepcopy(data_batch))
    runner.register_hook(hook)
    runner.train()
    assert len(batches) == 2
    for number, both in enumerate(batches):
        for domain, batch in both.items():
            seen = batch['inputs'][0].numpy()[::-1].transpose(1, 2, 0)
            np.testing.assert_array_equal(cell(sheets[domain], number, 0, WIDTH // 2), seen)
            if domain == 'source':
                labels = batch['data_samples'][0].gt_sem_seg.data[0].numpy()
                colours = cell(sheets[domain], number, 1, WIDTH // 2)
                assert {tuple(colour) for colour in colours[labels == 0]} <= {(128, 64, 128)}
    assert sheets['target'].width == 2 * GAP + WIDTH, 'labels of the target stand in no sheet'


def test_colours_survive_normalisation_in_either_order():
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    for settings, given in ((dict(bgr_to_rgb=True), picture), ({}, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))):
        normalised = torch.from_numpy(((given - mean) / std).transpose(2, 0, 1)).float()
        np.testing.assert_array_equal(_to_picture(normalised, dict(settings, mean=mean, std=std)), picture)
