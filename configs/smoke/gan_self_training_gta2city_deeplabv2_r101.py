"""A smoke-sized gan_self_training_gta2city_deeplabv2_r101: four iterations on a built-in world."""

_base_ = '../gan_self_training_gta2city_deeplabv2_r101.py'

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/smoke_gta2city', width=64, height=32)

model = dict(
    backbone=dict(depth=50, base_channels=4, stem_channels=4, init_cfg=None),
    decode_head=dict(in_channels=128),
    auxiliary_head=dict(in_channels=64),
)
adaptations = dict(
    image_adversary=dict(
        generator=dict(in_channels=[32, 64, 128], base_channels=4, max_channels=16),
        discriminator=dict(base_channels=4),
    )
)
train_dataloader = dict(order=dict(temperature=0.1, min_pixels=5, min_crop_share=0.2))
train_cfg = dict(max_iters=4, val_interval=4)
