"""A smoke-sized self_training_gta2city_segformer_b5: four iterations on a built-in world."""

_base_ = '../self_training_gta2city_segformer_b5.py'

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/smoke_gta2city', width=64, height=32)

model = dict(
    backbone=dict(embed_dims=8, num_layers=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], init_cfg=None),
    decode_head=dict(in_channels=[8, 16, 16, 16], channels=32),
)
train_dataloader = dict(order=dict(temperature=0.1, min_pixels=5, min_crop_share=0.2))
train_cfg = dict(max_iters=4, val_interval=4)
