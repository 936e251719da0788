"""A smoke-sized gan_ce_gta2city: four iterations on a built-in world."""

_base_ = '../gan_ce_gta2city.py'

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/smoke_gta2city', width=64, height=32)

model = dict(
    backbone=dict(base_channels=4, fc_channels=16, init_cfg=None),
    decode_head=dict(in_channels=[16, 32, 16]),
)
adaptations = dict(
    image_adversary=dict(
        generator=dict(base_channels=4, max_channels=16),
        discriminator=dict(base_channels=4),
    )
)
train_cfg = dict(max_iters=4, val_interval=4)
