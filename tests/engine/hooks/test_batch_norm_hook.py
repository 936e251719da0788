"""BatchNorm adaptation: the statistics are those of the target pictures, and nothing else changes."""

import pytest
import torch
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from cda_mmseg.datasets.test_time_augmentation import augment_config


def build(smoke_config, work_dir, leaf, images=4, tta=False):
    config = smoke_config(leaf)
    if tta:
        augment_config(config)
    config.work_dir = str(work_dir)
    config.target_dataloader.batch_size = 2
    config.custom_hooks = [*config.custom_hooks, dict(type='BatchNormAdaptationHook', images=images)]
    return Runner.from_cfg(config)


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


def test_a_network_without_batch_norm_is_refused(smoke_config, tmp_path):
    with pytest.raises(ValueError, match='has no BatchNorm whose statistics could be adapted'):
        build(smoke_config, tmp_path, 'cl_gta2city').test()
