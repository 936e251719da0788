"""The configs: composition, what the small ones change, and that every one trains."""

import itertools
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS

from cda_mmseg.visualization.run_log import read_run_log

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs'
LEAVES = sorted(path.stem for path in CONFIGS.glob('*.py'))
STREET_LEAVES = [leaf for leaf in LEAVES if not leaf.endswith('airsim2camvid')]
SMALL = sorted(f'{folder}/{path.stem}' for folder in ('smoke', 'demo') for path in (CONFIGS / folder).glob('*.py'))

# What a small config may change of its stock leaf: data roots, sizes, widths, initial weights, schedule.
MAY_CHANGE = [
    r'.*\.data_root',
    r'(.*\.|test_)pipeline\.\d+\.(scale|crop_size)',
    r'(train|target)_dataloader\.batch_size',
    r'model\.data_preprocessor\.size',
    r'model\.(backbone|decode_head|generator|discriminator)\.(in_)?(base_|fc_|max_|stem_)?channels',
    r'model\.decode_head\.in_channels(\.\d+)?',
    r'model\.generator\.in_channels(\.\d+)?',
    r'model\.backbone\.(depth|embed_dims|num_heads(\.\d+)?)',
    r'model\.discriminator\.num_layers',
    r'model\.backbone\.(init_cfg|norm_cfg)(\..*)?',
    r'model\.decode_head\.zero_init',
    r'(train_cfg|optim_wrapper|param_scheduler)\..*',
]


def flatten(node: object, prefix: str = '') -> dict[str, object]:
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list | tuple) and any(isinstance(item, dict) for item in node):
        items = enumerate(node)
    else:
        return {prefix: node}
    return {key: value for name, item in items for key, value in flatten(item, f'{prefix}.{name}'.lstrip('.')).items()}


@pytest.mark.parametrize('name', LEAVES)
def test_leaves_are_short_and_compose_four_axes(name):
    text = (CONFIGS / f'{name}.py').read_text()
    assert len(text.splitlines()) <= 25
    bases = re.findall(r"'_base_/(\w+)[/.].*\.py',  # \S+", text) + re.findall(
        r"'_base_/(default_runtime).py',  # ", text
    )
    assert bases[:4] == ['models', 'datasets', 'methods', 'schedules'] and 'default_runtime' in bases


@pytest.mark.parametrize('name', SMALL)
def test_small_configs_read_data_as_the_stock_leaf_does(name):
    small = flatten(Config.fromfile(CONFIGS / f'{name}.py')._cfg_dict.to_dict())
    stock = flatten(Config.fromfile(CONFIGS / f'{Path(name).name}.py')._cfg_dict.to_dict())
    missing = object()
    changed = {key for key in {*small, *stock} if small.get(key, missing) != stock.get(key, missing)}
    unexpected = sorted(key for key in changed if not any(re.fullmatch(pattern, key) for pattern in MAY_CHANGE))
    assert unexpected == []
    assert any(key.endswith('data_root') for key in changed)


def test_every_street_leaf_has_a_smoke_sized_child():
    assert sorted(path.stem for path in (CONFIGS / 'smoke').glob('*.py')) == STREET_LEAVES


@pytest.mark.parametrize('name', STREET_LEAVES)
def test_smoke_configs_train_and_score_both_domains(name, smoke_worlds, tmp_path, monkeypatch):
    monkeypatch.chdir(smoke_worlds)
    config = Config.fromfile(CONFIGS / 'smoke' / f'{name}.py')
    config.work_dir = str(tmp_path)
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    Runner.from_cfg(config).train()
    log = read_run_log(tmp_path)
    wanted = {'target/mIoU', 'source/mIoU'}
    if 'synthia' in name:
        wanted |= {'target/mIoU16', 'target/mIoU13', 'source/mIoU16', 'source/mIoU13'}
    assert wanted <= log.validation.keys()
    assert (tmp_path / 'iter_4.pth').is_file()


@pytest.fixture(scope='session')
def own_pair(tmp_path_factory):
    """A stand-in for AirSim and CamVid: their folder trees with a few random pictures, the target's labels missing."""
    folder = tmp_path_factory.mktemp('own_pair')
    random = np.random.default_rng(0)
    for domain, split in itertools.product(('airsim', 'camvid'), ('train', 'val')):
        for number in range(2):
            root = folder / 'data' / 'airsim2camvid' / domain
            image = root / 'leftImg8bit' / split / 'front' / f'{number}_leftImg8bit.jpg'
            label = root / 'gtFine' / split / 'front' / f'{number}_gtFine_common6.png'
            image.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), random.integers(0, 256, (144, 256, 3), dtype=np.uint8))
            if (domain, split) != ('camvid', 'train'):
                label.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(label), random.integers(0, 6, (144, 256), dtype=np.uint8))
    return folder


@pytest.mark.parametrize('name', [leaf for leaf in LEAVES if leaf.endswith('airsim2camvid')])
def test_the_example_of_ones_own_data_trains(name, own_pair, tmp_path, monkeypatch):
    monkeypatch.chdir(own_pair)
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.work_dir = str(tmp_path)
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.model.backbone.update(base_channels=4, fc_channels=8, init_cfg=None)
    config.model.decode_head.in_channels = [16, 32, 8]
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    Runner.from_cfg(config).train()
    assert {'target/mIoU', 'source/mIoU', 'target/mIoU4'} <= read_run_log(tmp_path).validation.keys()


def test_stock_values_are_the_papers_and_ours():
    """The numbers that configs/README.md lists."""
    config = Config.fromfile(CONFIGS / 'cl_gta2city.py')
    loss = config.model.decode_head.loss_decode
    assert (loss.main.loss_weight, loss.warm_fraction) == (5.0, 0.5)
    assert loss.main.base == pytest.approx(2.718281828)
    assert [config.optim_wrapper[name].optimizer.lr for name in ('encoder', 'generator', 'discriminator')] == [
        1e-5,
        1e-4,
        1e-4,
    ]
    assert all(
        config.optim_wrapper[n].optimizer.betas == (0.9, 0.999) for n in ('encoder', 'generator', 'discriminator')
    )
    assert (config.train_cfg.max_iters, config.train_dataloader.batch_size) == (100_000, 1)
    assert config.param_scheduler.encoder[0].milestones == [50_000]
    weights = ('encoder_adversarial_weight', 'generator_adversarial_weight', 'reconstruction_weight')
    assert [config.model[name] for name in weights] == [0.001, 0.1, 1.0]
    assert config.model.generator.noise_std == 0.1
    assert 'save_best' not in config.default_hooks.checkpoint
    assert config.model.execution == dict(batch_domains=True, memory='default', channels_last=False, compile=False)
    assert all(config.optim_wrapper[name].optimizer.fused for name in ('encoder', 'generator', 'discriminator'))


@pytest.mark.parametrize('name', LEAVES)
def test_networks_build_as_configured(name):
    """With the very widths of the paper, weights left random."""
    config = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope('mmseg')
    config.model.backbone.init_cfg = None
    # On the meta device 135 M weights cost nothing; MiT computes its drop-path rates with real tensors.
    with torch.device('cpu' if 'segformer' in name else 'meta'):
        model = MODELS.build(config.model)
    assert model.num_classes == (6 if 'airsim' in name else 19)


# Read by mmengine's Runner, by mmseg's tools, or by our loop (target_dataloader) and leaves (method).
READ = {f'{name}_dataloader' for name in ('train', 'target', 'val', 'test')} | {
    *('val_evaluator', 'test_evaluator', 'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'param_scheduler'),
    *('model', 'model_wrapper_cfg', 'default_scope', 'custom_imports', 'randomness', 'env_cfg', 'tta_model', 'method'),
    'test_pipeline',
    *('default_hooks', 'custom_hooks', 'visualizer', 'log_processor', 'log_level', 'load_from', 'resume'),
}


@pytest.mark.parametrize('name', LEAVES)
def test_every_key_is_read_by_something(name):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    assert set(config) <= READ
    assert config.method is None
