"""BatchNorm adaptation: the statistics are those of the target pictures, and nothing else changes."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch.nn.modules.batchnorm import _BatchNorm

from cda_mmseg.datasets.test_time_augmentation import augment_config
from cda_mmseg.engine.hooks import BatchNormAdaptationHook
from cda_mmseg.engine.runner import UDARunner
from tests.models.two_processes import call_on_two


def build(smoke_config, work_dir, leaf, images=4, tta=False):
    config = smoke_config(leaf)
    if tta:
        augment_config(config)
    config.work_dir = str(work_dir)
    config.target_dataloader.batch_size = 2
    config.custom_hooks = [*config.custom_hooks, dict(type='BatchNormAdaptationHook', images=images)]
    return UDARunner.from_cfg(config)


@pytest.mark.parametrize('tta', [False, True])
def test_statistics_are_the_means_over_batches_of_target_pictures(tta, smoke_config, tmp_path):
    runner = build(smoke_config, tmp_path, 'minent_gta2city_deeplabv2_r101', images=3, tta=tta)
    layers = [layer for layer in runner.model.modules() if isinstance(layer, _BatchNorm)]
    weights = [value.clone() for value in runner.model.parameters()]
    momenta = [layer.momentum for layer in layers]
    seen, training = [], set()

    def look(layer, inputs):
        if layer.training:
            seen.append(inputs[0])
            training.update(type(one) for one in runner.model.modules() if one.training)

    layers[0].register_forward_pre_hook(look)
    metrics = runner.test()
    # three pictures are two batches of two; dropout has no part in them
    assert [len(features) for features in seen] == [2, 2] and 'target/mIoU' in metrics
    assert training == {type(layer) for layer in layers}
    flat = [features.double().transpose(0, 1).flatten(1) for features in seen]
    torch.testing.assert_close(layers[0].running_mean.double(), torch.stack([f.mean(1) for f in flat]).mean(0))
    torch.testing.assert_close(layers[0].running_var.double(), torch.stack([f.var(1) for f in flat]).mean(0))
    assert all(layer.num_batches_tracked == 2 and not layer.training for layer in layers)
    assert [layer.momentum for layer in layers] == momenta
    assert all(torch.equal(one, other) for one, other in zip(weights, runner.model.parameters(), strict=True))
    assert not list(tmp_path.glob('**/*.pth'))


def adapt(rank, config, folder):
    """Adapt the statistics as before a test."""
    os.chdir(folder)
    config = Config.fromfile(config)
    config.launcher = 'pytorch'
    runner = UDARunner.from_cfg(config)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, BatchNormAdaptationHook))
    hook.before_test_epoch(runner)
    return runner.model.module.state_dict()


def test_two_processes_share_the_pictures_and_have_the_same_statistics(smoke_config, tmp_path):
    """Batches of one size from other pictures: the first layer's means are those of one process."""
    runner = build(smoke_config, tmp_path / 'one', 'minent_gta2city_deeplabv2_r101', images=8)
    runner.cfg.work_dir = str(tmp_path / 'two')
    runner.cfg.dump(tmp_path / 'config.py')
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, BatchNormAdaptationHook))
    hook.before_test_epoch(runner)
    one, ranks = (
        runner.model.state_dict(),
        call_on_two(tmp_path, adapt, str(tmp_path / 'config.py'), str(Path.cwd())),
    )
    names = [name for name in one if '.running_' in name]
    assert names and all(torch.equal(ranks[0][name], ranks[1][name]) for name in names)
    torch.testing.assert_close(ranks[0][names[0]], one[names[0]])
    tracked = {int(value) for name, value in ranks[0].items() if name.endswith('num_batches_tracked')}
    assert tracked == {2}


def test_a_network_without_batch_norm_is_refused(smoke_config, tmp_path):
    with pytest.raises(ValueError, match='has no BatchNorm whose statistics could be adapted'):
        build(smoke_config, tmp_path, 'cl_gta2city').test()
