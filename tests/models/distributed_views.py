"""Train a ResNet-50 with several encoder forwards per step on two processes."""

import torch
from mmengine.optim import build_optim_wrapper

from cda_mmseg.models.wrappers import PlayerDistributedDataParallel
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.adaptations.contract_model import config
from tests.models.distributed_training import share
from tests.models.segmentors.tiny_model import SEED, build, make_data, optimizer_config


def train(rank: int, world_size: int) -> torch.nn.Module:
    """Domains apart, activations computed again, and two further encodes with graphs of their own."""
    settings = config(views=dict(type='Views', count=2, weight=0.5), mine=dict(type='Classifier'))
    settings['backbone'] = dict(type='ResNetV1c', depth=50, base_channels=4, stem_channels=4, norm_eval=True)
    settings['decode_head'] = dict(type='FCNHead', in_channels=128, in_index=3, channels=4, num_classes=5)
    settings['decode_head'] |= dict(dropout_ratio=0.0, loss_decode=dict(type='SoftmaxCrossEntropyLoss'))
    settings['adaptations']['mine']['channels'] = 128
    settings['execution'] = dict(memory='low')
    model = build(settings)
    wrapped = PlayerDistributedDataParallel(model) if world_size > 1 else model
    player = optimizer_config('SGD', lr=0.01)['encoder']
    optimizers = build_optim_wrapper(
        wrapped, dict(constructor='PlayerOptimWrapperConstructor', encoder=player, classifier=player)
    )
    for iteration in range(2):
        model.set_progress(TrainingProgress(iteration, 2, SEED, rank))
        wrapped.train_step(share(make_data(iteration, batch_size=2), rank, world_size), optimizers)
    return model


def main(rank: int) -> dict:
    """Train on this rank and return what came out."""
    model = train(rank, 2)
    return dict(weights=dict(model.named_parameters()))
