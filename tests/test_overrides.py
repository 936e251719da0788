"""The overrides that configs/README.md shows: in force in a child of a leaf, and the same when composing the axes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from cda_mmseg.engine import compose, read_config
from cda_mmseg.engine.runner import UDARunner
from cda_mmseg.models.losses import WarmStartLoss
from cda_mmseg.visualization.run_log import read_run_log

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
SECTION = re.search(r'^## Change one thing$(.*?)^## ', (CONFIGS / 'README.md').read_text(), re.S | re.M)[1]
BLOCKS = dict(re.findall(r'```python\n# ([^\n]+)\n(.*?)```', SECTION, re.S))
LEAF_FILE = CONFIGS / 'cl_gta2city.py'
LEAF = LEAF_FILE.read_text()
# What fits the smoke-sized leaf: its crops and widths, and no weights that would be fetched.
SMALLER = {'(256, 512)': '(32, 32)', 'in_channels=512,\n        in_index': 'in_channels=32,\n        in_index'}
SIX = ('road', 'building', 'vegetation', 'sky', 'person', 'car')


def check_backbone(runner: Runner) -> None:
    model = runner.model
    assert type(model.backbone).__name__ == 'ResNetV1c' and type(model.decode_head).__name__ == 'FCNHead'
    assert isinstance(model.decode_head.loss_decode, WarmStartLoss)  # the method's loss survives a replaced head
    [network] = model.player('generator').networks.values()
    assert network.in_channels == (512,)


def check_classes(runner: Runner) -> None:
    assert runner.model.decode_head.conv_seg.out_channels == 6
    for dataset in (runner.train_loop.dataloader.dataset, *runner.val_loop.dataloader.dataset.datasets):
        assert tuple(dataset.metainfo['classes']) == SIX


def check_crop(runner: Runner) -> None:
    for loader in runner.train_loop.loaders.values():
        assert loader.dataset[0]['inputs'].shape[-2:] == (32, 32)
    assert tuple(runner.model.data_preprocessor.size) == (32, 32)


def check_batch(runner: Runner) -> None:
    assert {name: loader.batch_size for name, loader in runner.train_loop.loaders.items()} == dict(source=2, target=2)
    assert runner.train_loop.samples_consumed == dict(source=2, target=2)


def check_optimizer(runner: Runner) -> None:
    used = {name: type(wrapper.optimizer).__name__ for name, wrapper in runner.optim_wrapper.items()}
    assert used == dict(encoder='SGD', generator='Adam', discriminator='Adam')


def check_weight(runner: Runner) -> None:
    assert runner.model.decode_head.loss_decode.main.loss_weight == 2.0


def check_gan_off(runner: Runner) -> None:
    assert list(runner.model.adaptations) == [] and list(runner.optim_wrapper.keys()) == ['encoder']
    assert list(runner.train_loop.loaders) == ['source']


def check_auxiliary_head(runner: Runner) -> None:
    assert 'aux.loss_ce' in read_run_log(runner.work_dir).training


CHECKS: dict[str, Callable[[Runner], None]] = {
    'another backbone': check_backbone,
    'other classes': check_classes,
    'another crop': check_crop,
    'another batch': check_batch,
    'another optimizer of the encoder': check_optimizer,
    'another weight of the Conservative Loss': check_weight,
    'without the GAN': check_gan_off,
    'an auxiliary head': check_auxiliary_head,
}
GROUPS = [
    ('another backbone',),
    (*list(CHECKS)[1:6],),
    ('without the GAN', 'an auxiliary head'),
]


def test_every_override_is_checked():
    assert list(BLOCKS) == list(CHECKS) == [name for group in GROUPS for name in group]


@pytest.mark.parametrize('name', CHECKS)
def test_composing_the_axes_with_an_override_equals_the_child_of_a_leaf(tmp_path, name):
    (tmp_path / 'child.py').write_text(f"_base_ = '{CONFIGS}/cl_gta2city.py'\n{BLOCKS[name]}")
    (tmp_path / 'axes.py').write_text(LEAF.replace("'_base_/", f"'{CONFIGS}/_base_/") + BLOCKS[name])
    child, axes, leaf = (
        read_config(path).to_dict() for path in (tmp_path / 'child.py', tmp_path / 'axes.py', LEAF_FILE)
    )
    assert child == axes != leaf


@pytest.mark.parametrize('names', GROUPS, ids=lambda names: names[0])
def test_overrides_are_in_force(smoke_worlds, tmp_path, monkeypatch, names):
    """Each in a child of the one before: three runs in the place of eight."""
    monkeypatch.chdir(smoke_worlds)
    base = f'{CONFIGS}/smoke/cl_gta2city.py'
    for number, name in enumerate(names):
        block = BLOCKS[name]
        for large, small in SMALLER.items():
            block = block.replace(large, small)
        (tmp_path / f'child_{number}.py').write_text(f"_base_ = '{base}'\n{block}")
        base = f'child_{number}.py'
    config = read_config(tmp_path / base)
    config.model.backbone.init_cfg = None
    config.work_dir = str(tmp_path / 'run')
    config.default_hooks.logger.interval = 1
    config.train_cfg.max_iters = 1
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    runner = UDARunner.from_cfg(config)
    runner.train()
    for name in names:
        CHECKS[name](runner)


def test_a_forgotten_method_line_is_an_error():
    """Without it mmseg would train its cross entropy on the source alone."""
    config = Config.fromfile(CONFIGS / 'cl_gta2city.py')
    for key in ('source_loss', 'adaptations'):
        config.pop(key)
    with pytest.raises(ValueError, match=r'no method.*_base_/methods/source_only.py'):
        compose(config)


def test_a_head_with_a_loss_of_its_own_does_not_replace_the_methods_unseen():
    config = Config.fromfile(CONFIGS / 'cl_gta2city.py')
    config.model.decode_head = dict(type='FCNHead', loss_decode=dict(type='CrossEntropyLoss'))
    with pytest.raises(ValueError, match=r'source_loss \(WarmStartLoss\) and model.decode_head.loss_decode \(CrossE'):
        compose(config)
