"""A smoke-sized advent_gta2city_deeplabv2_r101: four iterations on a built-in world."""

_base_ = '../advent_gta2city_deeplabv2_r101.py'

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/smoke_gta2city', width=64, height=32)

model = dict(
    backbone=dict(depth=50, base_channels=4, stem_channels=4, init_cfg=None),
    decode_head=dict(in_channels=128),
    auxiliary_head=dict(in_channels=64),
)
adaptations = dict(
    output_space=dict(discriminator=dict(base_channels=4)),
    output_space_aux=dict(discriminator=dict(base_channels=4)),
)
train_cfg = dict(max_iters=4, val_interval=4)
