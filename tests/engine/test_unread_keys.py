"""Keys that nobody reads are named, and stop nothing."""

from pathlib import Path

import pytest
from mmengine.config import Config

from cda_mmseg import launch
from cda_mmseg.engine import read_config
from cda_mmseg.engine.unread_keys import unread_keys

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SMOKE = CONFIGS / 'smoke' / 'cl_gta2city.py'


@pytest.fixture(scope='module')
def smoke() -> Config:
    return Config.fromfile(SMOKE)


@pytest.mark.parametrize(
    ('changes', 'unread'),
    [
        (dict(custom_hoks=[]), 'custom_hoks (did you mean custom_hooks?)'),
        (dict(target_pipeline=[dict(type='LoadImage')]), 'target_pipeline (did you mean test_pipeline?)'),
        (dict(train_loader=dict(batch_size=1)), 'train_loader (did you mean train_dataloader?)'),
        (dict(crop_size=(8, 8)), 'crop_size'),
        (dict(method=dict(type='GAN')), 'method'),
        ({'default_hooks.chekpoint': dict(interval=3)}, 'default_hooks.chekpoint (did you mean checkpoint?)'),
        ({'model.train_cfg': dict(foo=1)}, 'model.train_cfg.foo'),
        ({'model.test_cfg.mod': 'slide'}, 'model.test_cfg.mod (did you mean mode?)'),
        ({'env_cfg.cudnn_bench': True}, 'env_cfg.cudnn_bench (did you mean cudnn_benchmark?)'),
        (
            {'target_dataloader.dataset.data_prefix.img_pat': 'x'},
            'target_dataloader.dataset.data_prefix.img_pat (did you mean img_path?)',
        ),
        (
            {'val_dataloader.dataset.datasets.1.data_prefix': dict(seg_map='x')},
            'val_dataloader.dataset.datasets.1.data_prefix.seg_map',
        ),
        (
            {'optim_wrapper.encoder.paramwise_cfg': dict(custom_kyes={})},
            'optim_wrapper.encoder.paramwise_cfg.custom_kyes (did you mean custom_keys?)',
        ),
        (
            {'optim_wrapper.encoder.paramwise_cfg': dict(custom_keys=dict(decode_head=dict(lr_mul=10.0)))},
            'optim_wrapper.encoder.paramwise_cfg.custom_keys.decode_head.lr_mul (did you mean lr_mult?)',
        ),
        ({'data_preprocessor.size': (8, 8)}, 'data_preprocessor (model.data_preprocessor is in force)'),
        ({'train_pipeline': []}, 'train_pipeline (train_dataloader.dataset.pipeline is in force)'),
        ({'vis_backends.0.type': 'TensorboardVisBackend'}, 'vis_backends (visualizer.vis_backends is in force)'),
        ({'vis_backends': [], 'visualizer.vis_backends': []}, None),
        # a hook, and an option of parameter groups, of the user's own
        ({'default_hooks.mine': dict(type='StopHook')}, None),
        ({'optim_wrapper.encoder.paramwise_cfg': dict(custom_keys=dict(decode_head=dict(eps=1e-6)))}, None),
    ],
)
def test_a_key_that_nobody_reads_is_named(smoke, changes, unread):
    config = Config(smoke.to_dict())
    config.merge_from_dict(changes)
    assert unread_keys(config) == ([] if unread is None else [unread])


@pytest.mark.parametrize(
    'path', sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts), ids=lambda path: path.stem
)
def test_the_shipped_configs_are_read_throughout(path):
    if path.name == 'sweep.py':
        pytest.skip('a list of runs, no config')
    assert unread_keys(Config.fromfile(path)) == []


@pytest.mark.parametrize('runner_type', ['mmseg.UDARunner', None])
def test_they_stop_nothing_and_stand_in_the_log(smoke_worlds, tmp_path, monkeypatch, runner_type):
    monkeypatch.chdir(smoke_worlds)
    config = read_config(SMOKE)
    config.update(target_pipeline=[], work_dir=str(tmp_path), experiment_name=f'unread_{runner_type}')
    if runner_type is None:
        config.pop('runner_type')
    launch.build_runner(config)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('so they change nothing: target_pipeline (did you mean test_pipeline?). Helpers') == 1
