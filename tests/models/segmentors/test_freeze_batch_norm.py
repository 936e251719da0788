"""BatchNorm that stays as it is, in any backbone: against mmseg's norm_eval where there is one."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cda_mmseg.utils.progress import TrainingProgress
from tests.models.segmentors.tiny_model import SEED, build, make_data, model_config, optimizer_config
from tests.models.segmentors.trained import differences

init_default_scope('mmseg')


def settings(backbone: dict, **changes) -> dict:
    config = model_config(execution=dict(batch_domains=True), **changes)
    config['backbone'] = backbone
    config['decode_head'] = dict(
        type='FCNHead',
        in_channels=64,
        channels=8,
        num_convs=1,
        num_classes=5,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    )
    return config


def resnet(**changes) -> dict:
    return dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, **changes)


def start(config: dict) -> nn.Module:
    """Build a model whose statistics are those of some earlier training."""
    model = build(config)
    generator = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, _BatchNorm):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
    return model


def train(model: nn.Module, iterations: int = 2) -> None:
    optimizers = build_optim_wrapper(model, optimizer_config('Adam'))
    for iteration in range(iterations):
        model.set_progress(TrainingProgress(iteration, 10, SEED, 0))
        model.train()
        model.train_step(make_data(iteration), optimizers)


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items() if 'running_' in key or 'num_b' in key}


@pytest.mark.parametrize(
    'backbone',
    [
        resnet(),
        dict(type='EfficientNetLite0', out_indices=(0, 1, 2)),
        dict(type='VGG', depth=11, base_channels=4, norm_cfg=dict(type='BN'), out_indices=(2, 3, 4)),
    ],
    ids=lambda backbone: backbone['type'],
)
def test_it_is_norm_eval_bit_for_bit(backbone):
    frozen, evaluated = settings(backbone, freeze_batch_norm=True), settings({**backbone, 'norm_eval': True})
    for config in (frozen, evaluated):
        config['decode_head']['in_channels'] = dict(EfficientNetLite0=112, VGG=32).get(backbone['type'], 64)
    models = [start(config) for config in (frozen, evaluated)]
    before = copy.deepcopy(models[0])
    for model in models:
        train(model)
    assert differences(*models) == {}
    assert len(differences(before, models[0])) == len(list(before.parameters()))  # scales and shifts too
    kept, after = statistics(before), statistics(models[0])
    assert kept and all(torch.equal(kept[key], after[key]) for key in kept)


def test_without_it_the_statistics_move():
    """What the test above would miss if nothing were trained."""
    config = settings(resnet())
    config['execution'] = dict(batch_domains=False)
    model = start(config)
    before = statistics(model)
    train(model, 1)
    after = statistics(model)
    assert before and all(not torch.equal(before[key], after[key]) for key in before)


def test_every_part_of_the_encoder_stays_in_evaluation_mode_but_the_rest_trains():
    config = settings(dict(type='BiSeNetV1', backbone_cfg=resnet(), spatial_channels=(8, 8, 8, 16), out_channels=16))
    config['backbone'] |= dict(context_channels=(8, 16, 32))
    config['backbone']['backbone_cfg'] |= dict(num_stages=4, out_indices=(0, 1, 2, 3))
    config |= dict(freeze_batch_norm=True)
    config['decode_head'] |= dict(in_channels=16, in_index=0, norm_cfg=dict(type='BN'))
    config['discriminator'] = dict(type='PatchGANDiscriminator', base_channels=4, num_layers=3)
    model = build(config).eval().train()
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}
    assert {name.split('.')[0] for name in layers} == {'backbone', 'decode_head'}
    assert not any(layer.training for layer in layers.values())
    assert model.training and model.decode_head.dropout.training and model.player('generator').training


def test_heads_that_pool_globally_train_on_one_image():
    """Their BatchNorm has one value per channel there, of which no statistics can be made."""
    config = settings(resnet(), freeze_batch_norm=True)
    config['decode_head'] |= dict(type='ASPPHead', dilations=(1, 2), norm_cfg=dict(type='BN'))
    config['decode_head'].pop('num_convs')
    train(start(config), 1)
    config.pop('freeze_batch_norm')
    config['backbone'] |= dict(norm_eval=True)
    with pytest.raises(ValueError, match=r'image_pool\.1\.bn .* gets one value a channel'):
        train(start(config), 1)
