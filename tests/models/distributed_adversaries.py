"""Train the rivals' terms on several processes."""

import torch
from mmengine.optim import build_optim_wrapper

from cda_mmseg.models.wrappers import PlayerDistributedDataParallel
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.distributed_training import count_reduced, share
from tests.models.segmentors.tiny_model import SEED, build, double_precision, make_data, model_config

ITERATIONS = 3
VANILLA = dict(type='GANLoss', gan_type='vanilla')
PATCHES = dict(type='PatchGANDiscriminator', base_channels=4, num_layers=3)
CELLS = dict(type='FeatureDiscriminator', channels=(8, 4), dropout=0.0)


def train(rank: int, world_size: int):
    """Train one model with all of them, without dropout, which every rank draws for itself; count reduced bytes."""
    base = {key: value for key, value in model_config().items() if key in ('backbone', 'decode_head')}
    base['backbone'] = base['backbone'] | dict(dropout=0.0)
    base['decode_head'] = base['decode_head'] | dict(loss_decode=dict(type='SoftmaxCrossEntropyLoss'))
    model = build(
        dict(
            type='UDASegmentor',
            data_preprocessor=model_config()['data_preprocessor'],
            **base,
            adaptations=dict(
                output=dict(type='OutputSpaceAdversary', discriminator=PATCHES, loss_gan=VANILLA, weight=0.1),
                reversal=dict(type='GradientReversal', discriminator=CELLS, loss_gan=VANILLA),
                confusion=dict(type='DomainConfusion', discriminator=CELLS, loss_gan=VANILLA, player='second'),
                minent=dict(type='MinEnt', weight=0.1),
                max_square=dict(type='MaxSquare', weight=0.1),
                distance=dict(type='FeatureDistance', weight=0.1, classes=(0, 1)),
            ),
        ),
        torch.float64,
    )
    model.data_preprocessor.forward = double_precision(model.data_preprocessor.forward)
    wrapped = PlayerDistributedDataParallel(model) if world_size > 1 else model
    reduced = count_reduced(wrapped, world_size) if world_size > 1 else {}
    player = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
    optimizers = build_optim_wrapper(
        wrapped, dict(constructor='PlayerOptimWrapperConstructor', **dict.fromkeys(model.player_names, player))
    )
    model.adaptations['distance'].study({})
    for iteration in range(ITERATIONS):
        model.set_progress(TrainingProgress(iteration, ITERATIONS, SEED, rank))
        data = make_data(iteration, batch_size=2)
        # One of the two cells of the first image counts for the distance, none of the other image.
        data['source']['data_samples'][0].gt_sem_seg.data[:, :, :24] = 1
        wrapped.train_step(share(data, rank, world_size), optimizers)
    return model, reduced


def main(rank: int) -> dict:
    """Train on this rank and return what came out."""
    model, reduced = train(rank, 2)
    return dict(weights=dict(model.named_parameters()), reduced=reduced)
