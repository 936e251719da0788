"""The gap between the built-in domains is real."""

import pytest

from cda_mmseg.datasets.worlds import write_world
from tests.campaigns.training import train


@pytest.mark.campaign
def test_a_source_model_loses_fifteen_points_on_the_target(tmp_path):
    """Over 125 source images that were held out of training, and 100 target images."""
    write_world(tmp_path / 'data' / 'worlds' / 'gta2city', workers=2)
    log = train(
        'demo/source_only_gta2city',
        tmp_path / 'run',
        tmp_path,
        '--cfg-options',
        'train_dataloader.dataset.holdout=True',
        'val_dataloader.dataset.datasets.1.holdout=True',
        'train_cfg.max_iters=1000',
        'param_scheduler.encoder.0.end=1000',
    )
    source, target = log.last('source/mIoU').value, log.last('target/mIoU').value
    assert log.last('source/images').value >= 100 and log.last('target/images').value >= 100
    assert source >= 50
    assert source - target >= 15
