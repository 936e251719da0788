"""A smoke-sized cl_gta2city_segformer_b0: four iterations on a built-in world."""

_base_ = '../cl_gta2city_segformer_b0.py'

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/smoke_gta2city', width=64, height=32)

model = dict(
    backbone=dict(embed_dims=8, num_heads=[1, 2, 2, 2], init_cfg=None),
    decode_head=dict(in_channels=[8, 16, 16, 16], channels=32),
)
adaptations = dict(
    image_adversary=dict(
        generator=dict(base_channels=4, max_channels=16),
        discriminator=dict(base_channels=4),
    )
)
train_cfg = dict(max_iters=4, val_interval=4)
