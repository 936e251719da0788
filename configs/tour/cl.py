"""The paper's method in `make demo`, after the warm start: players and the bare Conservative Loss."""

_base_ = [
    '../_base_/models/fpn_efficientnet_lite0.py',  # network and its initial weights
    '../_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '../_base_/methods/gan_cl.py',  # players and losses
    '../_base_/schedules/adam_poly_600.py',  # optimizers and length
    '../_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/gta2city', width=192, height=96)

model = dict(decode_head=dict(num_classes=19))
execution = dict(channels_last=True)
adaptations = dict(
    image_adversary=dict(
        begin=1 / 3,
        generator=dict(base_channels=8, max_channels=64, num_upsamplings=1),
        discriminator=dict(base_channels=8, num_layers=3),
    )
)
source_loss = dict(warm_fraction=1 / 3)
train_dataloader, target_dataloader = dict(batch_size=4), dict(batch_size=4)
default_hooks = dict(logger=dict(interval=10))
