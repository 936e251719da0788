"""The configs: composition, what the small ones change, and that every one trains."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import METRICS, MODELS, VISUALIZERS
from mmseg.structures import SegDataSample
from torch.nn.modules.batchnorm import _BatchNorm

from cda_mmseg.engine import UDARunner
from cda_mmseg.engine.composition import COMPOSED_KEYS, compose, read_config
from cda_mmseg.engine.unread_keys import COPIES
from cda_mmseg.visualization.run_log import read_run_log

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs'
LEAVES = sorted(path.stem for path in CONFIGS.glob('*.py'))
STREET_LEAVES = [leaf for leaf in LEAVES if 'airsim2camvid' not in leaf]
CLASSES = dict(airsim2camvid=6, rural2urban=7, urban2rural=7)
# With transformers, which `make` does not install.
NEEDS_TRANSFORMERS = [leaf for leaf in LEAVES if 'dinov2' in leaf]


def leaves(names: list[str]) -> list:
    skip = pytest.mark.skipif(find_spec('transformers') is None, reason='needs transformers')
    return [pytest.param(name, marks=skip if name in NEEDS_TRANSFORMERS else ()) for name in names]


SMALL = sorted(f'{folder}/{path.stem}' for folder in ('smoke', 'demo') for path in (CONFIGS / folder).glob('*.py'))

# What a small config may change of its stock leaf: data roots, sizes, widths, initial weights, schedule.
MAY_CHANGE = [
    r'.*\.data_root',
    r'(.*\.|test_|train_)pipeline\.\d+\.(scale|crop_size)',
    r'(train|target)_dataloader\.batch_size',
    r'(model\.)?data_preprocessor\.size',
    r'(model|adaptations\.\w+)\.(backbone|(decode|auxiliary)_head|generator|discriminator)\.(in_)?(base_|fc_|max_|stem_)?channels',
    r'model\.decode_head\.c1_(in_)?channels',
    r'model\.neck\.(in|out)_channels(\.\d+)?',
    r'model\.(decode|auxiliary)_head\.in_channels(\.\d+)?',
    r'adaptations\.image_adversary\.generator\.in_channels(\.\d+)?',
    r'model\.backbone\.config\.(hidden_size|num_attention_heads)',
    r'model\.backbone\.(depths?|embed_dims|num_layers|num_heads(\.\d+)?)',
    r'adaptations\.self_training\.(ignored_rows|block_size)',
    r'adaptations\.image_adversary\.discriminator\.num_layers',
    r'model\.backbone\.(init_cfg|norm_cfg)(\..*)?',
    r'model\.decode_head\.zero_init',
    r'(train_cfg|optim_wrapper|param_scheduler)\..*',
    r'train_dataloader\.order\.(temperature|min_pixels|min_crop_share)',
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


@pytest.mark.parametrize('name', leaves(STREET_LEAVES))
def test_smoke_configs_train_and_score_both_domains(name, smoke_worlds, tmp_path, monkeypatch):
    monkeypatch.chdir(smoke_worlds)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    config = read_config(CONFIGS / 'smoke' / f'{name}.py')
    config.work_dir = str(tmp_path)
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    UDARunner.from_cfg(config).train()
    log = read_run_log(tmp_path)
    wanted = {'target/mIoU', 'source/mIoU'}
    if 'synthia' in name:
        wanted |= {'target/mIoU16', 'target/mIoU13', 'source/mIoU16', 'source/mIoU13'}
    assert wanted <= log.validation.keys()
    assert (tmp_path / 'iter_4.pth').is_file()


def test_several_sources_and_targets_train_in_one_run(smoke_worlds, tmp_path, monkeypatch):
    """GTAV and SYNTHIA with shares of their own, to two targets; self-training beside the paper's players."""
    monkeypatch.chdir(smoke_worlds)
    config = Config.fromfile(CONFIGS / 'smoke' / 'gan_ce_gta2city.py')
    synthia = Config.fromfile(CONFIGS / 'smoke' / 'gan_ce_synthia2city.py')
    for loader in ('train', 'target'):
        parts = [one[f'{loader}_dataloader'].dataset for one in (config, synthia)]
        config[f'{loader}_dataloader'].dataset = dict(type='ConcatDataset', datasets=parts)
    config.train_dataloader.order = dict(type='SharesOrder', shares=[0.75, 0.25])
    config.default_hooks.logger.interval = 1
    config.adaptations.self_training = dict(type='SelfTraining', begin=0.5, threshold=0.5, jitter=dict())
    config.work_dir = str(tmp_path)
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    runner = UDARunner.from_cfg(config)
    runner.train()
    order = runner.train_loop.loaders['source'].dataset.order
    assert sum(order.index(position) >= 8 for position in range(16)) == 4
    assert {'mixed.decode.loss_ce', 'encoder.loss_adversarial'} <= read_run_log(tmp_path).training.keys()


@pytest.fixture(scope='session')
def own_pair(tmp_path_factory):
    """A stand-in for AirSim and CamVid: their folder trees with a few random pictures."""
    folder = tmp_path_factory.mktemp('own_pair')
    random = np.random.default_rng(0)
    root = folder / 'data' / 'airsim2camvid'
    for images, labels in (
        ('airsim/leftImg8bit/train/front', 'airsim/gtFine/train/front'),
        ('airsim/leftImg8bit/val/front', 'airsim/gtFine/val/front'),
        ('camvid/leftImg8bit/train/0016E5', 'oracle/gtFine/train/0016E5'),
        ('camvid/leftImg8bit/val/0006R0', 'camvid/gtFine/val/0006R0'),
        ('camvid/leftImg8bit/val/0016E5', 'camvid/gtFine/val/0016E5'),
    ):
        for number in range(2):
            image = root / images / f'{number}_leftImg8bit.jpg'
            label = root / labels / f'{number}_gtFine_common6.png'
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), random.integers(0, 256, (144, 256, 3), dtype=np.uint8))
            cv2.imwrite(str(label), random.integers(0, 6, (144, 256), dtype=np.uint8))
    return folder


@pytest.mark.parametrize('name', [leaf for leaf in LEAVES if 'airsim2camvid' in leaf])
def test_the_example_of_ones_own_data_trains(name, own_pair, tmp_path, monkeypatch):
    monkeypatch.chdir(own_pair)
    config = read_config(CONFIGS / f'{name}.py')
    config.work_dir = str(tmp_path)
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.model.backbone.init_cfg = None
    if config.model.backbone.type == 'VGG':
        config.model.backbone.update(base_channels=4, fc_channels=8)
        config.model.decode_head.in_channels = [16, 32, 8]
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False, batch_size=1)
    opened = []
    listening = True
    sys.addaudithook(lambda event, values: opened.append(str(values[0])) if listening and event == 'open' else None)
    UDARunner.from_cfg(config).train()
    listening = False
    scores = read_run_log(tmp_path).validation
    assert {'target/mIoU', 'target_0006R0/mIoU', 'target_0016E5/mIoU4', 'source/mIoU'} <= scores.keys()
    # Labels of the target's training images are for the upper bound alone.
    assert any('oracle' in path for path in opened) == name.startswith('oracle')


def test_stock_values_are_the_papers_and_ours():
    """The numbers that configs/README.md lists."""
    config = read_config(CONFIGS / 'cl_gta2city.py')
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
    adversary = config.model.adaptations.image_adversary
    weights = ('encoder_adversarial_weight', 'generator_adversarial_weight', 'reconstruction_weight')
    assert [adversary[name] for name in weights] == [0.001, 0.1, 1.0]
    assert adversary.generator.noise_std == 0.1
    assert 'save_best' not in config.default_hooks.checkpoint
    assert config.model.execution == dict(batch_domains=True, memory='default', channels_last=False, compile=False)
    assert all(config.optim_wrapper[name].optimizer.fused for name in ('encoder', 'generator', 'discriminator'))


@pytest.mark.parametrize('name', leaves(LEAVES))
def test_networks_build_as_configured(name):
    """With the very widths of the paper, weights left random."""
    config = read_config(CONFIGS / f'{name}.py')
    init_default_scope('mmseg')
    config.model.backbone.init_cfg = None
    # On the meta device 135 M weights cost nothing; MiT and Swin compute their drop-path rates with real tensors.
    with torch.device('cpu' if any(part in name for part in ('segformer', 'mit', 'swin')) else 'meta'):
        model = MODELS.build(dict(config.tta_model, module=config.model)).module
    assert model.num_classes == next((number for pair, number in CLASSES.items() if pair in name), 19)


@pytest.mark.parametrize('name', LEAVES)
def test_mmsegs_tools_find_what_they_read(name, tmp_path):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope('mmseg')
    visualizer = VISUALIZERS.build(dict(config.visualizer, save_dir=str(tmp_path)))
    assert [type(backend).__name__ for backend in visualizer._vis_backends.values()] == ['LocalVisBackend']
    assert MODELS.build(config.data_preprocessor).mean.shape == (3, 1, 1)
    for steps in (config.train_pipeline, config.test_pipeline, config.tta_pipeline):
        assert len(Compose(steps).transforms) == len(steps)
    # as test.py --out does
    METRICS.build(dict(config.test_evaluator, output_dir=str(tmp_path), keep_results=True))
    # as train.py --amp does, which then asks for a GPU
    assert config.optim_wrapper.type == 'OptimWrapper'
    assert all(COPIES[key].split('.')[0] in config and key in config for key in COPIES)


# Read by mmengine's Runner, by mmseg's tools, by our loop (target_dataloader) or by what composes a config.
READ = {f'{name}_dataloader' for name in ('train', 'target', 'val', 'test')} | {
    *('val_evaluator', 'test_evaluator', 'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'param_scheduler'),
    *('model', 'model_wrapper_cfg', 'default_scope', 'custom_imports', 'randomness', 'env_cfg', 'tta_model'),
    *('test_pipeline', 'tta_pipeline', 'runner_type', *COMPOSED_KEYS, *COPIES),
    *('default_hooks', 'custom_hooks', 'visualizer', 'log_processor', 'log_level', 'load_from', 'resume'),
}


@pytest.mark.parametrize('name', LEAVES)
def test_every_key_is_read_by_something(name):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    assert set(config) <= READ


RIVALS = [f'{name}_{pair}' for name in ('adaptsegnet', 'advent', 'minent') for pair in ('gta2city', 'synthia2city')]


@pytest.mark.parametrize('name', [*RIVALS, 'max_square_gta2city', 'max_square_synthia2city'])
def test_rivals_have_their_published_settings(name):
    config = read_config(CONFIGS / f'{name}_deeplabv2_r101.py')
    encoder = config.optim_wrapper.encoder
    assert encoder.optimizer == dict(type='SGD', lr=2.5e-4, momentum=0.9, weight_decay=5e-4)
    assert encoder.paramwise_cfg.custom_keys == dict(decode_head=dict(lr_mult=10.0), auxiliary_head=dict(lr_mult=10.0))
    adaptations = config.model.adaptations
    if name.startswith('max_square'):
        assert adaptations.max_square == dict(type='MaxSquare', weight=pytest.approx(0.1 / 19), ratio=0.2)
        return
    levels = [(one.get('head', 'decode'), one.weight) for one in adaptations.values()]
    assert levels == [('decode', 0.001), ('aux', 0.0002)]
    assert config.train_cfg.max_iters == (150_000 if name.startswith('adaptsegnet') else 120_000)
    if not name.startswith('minent'):
        maps = 'softmax' if name.startswith('adaptsegnet') else 'self_information'
        assert [one.maps for one in adaptations.values()] == [maps] * 2
        for player in ('output_discriminator', 'aux_output_discriminator'):
            optimizer = config.optim_wrapper[player].optimizer
            assert (optimizer.type, optimizer.lr, optimizer.betas) == ('Adam', 1e-4, (0.9, 0.99))
            assert config.param_scheduler[player] == config.param_scheduler.encoder


def test_the_rate_of_the_rivals_is_the_published_polynomial():
    """lr (1 - i / 250000) ^ .9; mmengine ends one iteration earlier."""
    schedule = read_config(CONFIGS / 'minent_gta2city_deeplabv2_r101.py').param_scheduler.encoder[0]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.5e-4)
    init_default_scope('mmseg')
    scheduler = PARAM_SCHEDULERS.build({**schedule, 'optimizer': optimizer})
    for iteration in range(3000):
        assert optimizer.param_groups[0]['lr'] == pytest.approx(2.5e-4 * (1 - iteration / 250_000) ** 0.9, rel=1e-6)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    'name',
    leaves(
        [
            'daformer_gta2city_mit_b5',
            *(
                f'self_training_gta2city_{network}'
                for network in ('deeplabv3plus_r50', 'upernet_dinov2_s', 'upernet_swin_t')
            ),
        ]
    ),
)
def test_no_weight_decay_pulls_at_the_norms_of_transformers(name):
    """Whatever their parameters are called: mmseg's MiT has `layers.0.2` for DAFormer's `norm1`."""
    config = read_config(CONFIGS / 'smoke' / f'{name}.py')
    init_default_scope('mmseg')
    backbone = MODELS.build(config.model).backbone
    encoder = torch.nn.ModuleDict(dict(backbone=backbone))
    groups = build_optim_wrapper(encoder, config.optim_wrapper.encoder).param_groups
    decay = {id(parameter): group['weight_decay'] for group in groups for parameter in group['params']}
    norms = [module for module in backbone.modules() if isinstance(module, torch.nn.LayerNorm | _BatchNorm)]
    assert norms and {decay[id(one)] for norm in norms for one in norm.parameters() if one.requires_grad} == {0.0}
    assert set(decay.values()) == {0.0, 0.01}


@pytest.mark.parametrize('pair, scale', [('gta2city', (1280, 720)), ('synthia2city', (1280, 760))])
@pytest.mark.parametrize('name, masked', [('daformer', 0.0), ('mic', 1.0)])
def test_daformer_and_mic_have_their_published_settings(name, masked, pair, scale):
    config = read_config(CONFIGS / f'{name}_{pair}_mit_b5.py')
    encoder = config.optim_wrapper.encoder
    assert encoder.optimizer == dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01)
    assert encoder.paramwise_cfg == dict(norm_decay_mult=0.0, custom_keys=dict(decode_head=dict(lr_mult=10.0)))
    one, distance = config.model.adaptations.self_training, config.model.adaptations.feature_distance
    assert (one.momentum, one.threshold, one.ignored_rows) == (0.999, 0.968, (15, 120))
    assert one.jitter == dict(strength=0.2, probability=0.8, blur_probability=0.5) and 'begin' not in one
    assert distance == dict(type='FeatureDistance', weight=0.005, min_share=0.75)
    assert (one.get('masked_weight', 0.0), one.get('masked_ratio', 0.7), one.get('block_size', 32)) == (masked, 0.7, 32)
    assert (config.train_cfg.max_iters, config.train_dataloader.batch_size) == (40_000, 2)
    crops = [step.crop_size for step in config.target_dataloader.dataset.pipeline if step.type == 'RandomCrop']
    assert crops == [(512, 512)] and config.train_dataloader.order.temperature == 0.01
    assert [step.scale for step in config.train_dataloader.dataset.pipeline if step.type == 'Resize'] == [scale]


def test_combinations_follow_each_other():
    """Alignment ends where self-training begins; the Conservative Loss is the source's alone."""
    config = read_config(CONFIGS / 'output_space_then_self_training_gta2city_deeplabv2_r101.py')
    one, two, teacher = config.model.adaptations.values()
    assert one.end == two.end == teacher.begin == 1 / 3
    config = read_config(CONFIGS / 'self_training_cl_gta2city_deeplabv2_r101.py')
    assert config.model.decode_head.loss_decode.main.type == 'ConservativeLoss'
    assert 'loss' not in config.model.adaptations.self_training


def test_daformers_rate_is_the_published_product():
    """lr (1 - i / 40000) times a line from 1e-6 to 1 over 1,500 iterations; mmengine ends one iteration earlier."""
    schedules = read_config(CONFIGS / 'daformer_gta2city_mit_b5.py').param_scheduler.encoder
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=6e-5)
    init_default_scope('mmseg')
    schedulers = [PARAM_SCHEDULERS.build({**one, 'optimizer': optimizer}) for one in schedules]
    for iteration in range(2000):
        warm_up = 1e-6 + (1 - 1e-6) * min(iteration / 1499, 1)
        assert optimizer.param_groups[0]['lr'] == pytest.approx(6e-5 * (1 - iteration / 40_000) * warm_up, rel=1e-4)
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize('method', ['gradient_reversal', 'output_space'])
def test_methods_that_no_leaf_has_fit_the_papers_network(method):
    """A method is one other line of a leaf; its players bring their optimizers."""
    config = Config.fromfile(CONFIGS / 'smoke' / 'source_only_gta2city.py')
    config.adaptations = Config.fromfile(CONFIGS / '_base_' / 'methods' / f'{method}.py').adaptations
    compose(config)
    init_default_scope('mmseg')
    model = MODELS.build(config.model).train()
    optimizers = build_optim_wrapper(model, config.optim_wrapper)
    data = {}
    for domain in ('source', 'target'):
        sample = SegDataSample(
            metainfo=dict(img_shape=(32, 64)), gt_sem_seg=PixelData(data=torch.ones(1, 32, 64).long())
        )
        data[domain] = dict(inputs=[torch.zeros(3, 32, 64, dtype=torch.uint8)], data_samples=[sample])
    log = model.train_step(data, optimizers)
    (player,) = model.adaptations[method].players
    assert {f'{player}.loss', f'{player}.accuracy', f'encoder.loss_{player}'} <= log.keys()
    assert set(config.param_scheduler) == {'encoder', player}


@pytest.mark.parametrize('name', ['source_only', 'self_training'])
def test_other_worlds_of_the_demo_change_its_data_alone(name):
    demo, other = (Config.fromfile(CONFIGS / 'tour' / path) for path in (f'{name}.py', f'worlds/urbansyn_{name}.py'))
    data = {'train_pipeline', 'test_pipeline', 'val_dataloader', 'test_dataloader'}
    assert demo.keys() == other.keys()
    for key in demo.keys() - data:
        one, two = demo[key], other[key]
        if key in ('train_dataloader', 'target_dataloader'):
            one, two = ({k: v for k, v in loader.items() if k != 'dataset'} for loader in (one, two))
        assert one == two, key
