"""Folders as runs leave them behind, of tiny networks that nobody has trained."""

import json

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint
from mmseg.registry import MODELS

from tests.visualization.conftest import data_root, make_config  # noqa: F401

LOG = """2026/12/01 10:00:00 - mmengine - INFO - Versions, the whole config and the hooks of this run stand in X.log.
2026/12/01 10:01:40 - mmengine - INFO - target (4 images): mIoU {target}
2026/12/01 10:01:40 - mmengine - INFO - source (4 images; seen in training): mIoU 60.0  aAcc 80.0
"""
FAILED = """2026/12/01 10:02:00 - mmengine - ERROR - The run ends with an error.
Traceback (most recent call last):
  File "loops.py", line 1, in run
NonFiniteLossError: decode.loss_ce is nan
"""


@pytest.fixture
def write_run(make_config, tmp_path):  # noqa: F811
    """Return a function that writes a run's folder, validated at iterations 50 and 100 of ``max_iters``."""

    def write(name, seed=0, target=(30.0, 20.0), max_iters=100, checkpoint=True, log='', **model):
        folder = tmp_path / name
        launch = folder / '20261201_100000'
        (launch / 'vis_data').mkdir(parents=True)
        config = make_config('target' if target else 'bare', **{'type': 'EncoderDecoder', **model})
        config.merge_from_dict(dict(train_cfg=dict(max_iters=max_iters), randomness=dict(seed=seed)))
        config.dump(folder / 'config.py')
        (launch / '20261201_100000.log').write_text(LOG.format(target=target) + log)
        lines = [{'iter': step, 'step': step, 'decode.loss_ce': 1 / step} for step in (50, 100)]
        for number, step in enumerate((50, 100)):
            scores = {'source/mIoU': 60.0, 'source/images': 4, 'target/share_distance': 5.0, 'step': step}
            if target:
                scores |= {'target/mIoU': target[number], 'target/IoU.road': target[number], 'target/IoU.sky': 1.0}
            lines.append(scores)
        (launch / 'vis_data' / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
        if checkpoint:
            init_default_scope('mmseg')
            torch.manual_seed(seed)
            network = MODELS.build(config.model)
            # Without a bias, no class wins everywhere.
            network.decode_head.conv_seg.weight.data.normal_()
            save_checkpoint(dict(state_dict=network.state_dict(), meta={}), str(folder / 'iter_100.pth'))
        return folder

    return write
