"""A smoke-sized self_training_gta2city_deeplabv3plus_r50: four iterations on a built-in world."""

_base_ = '../self_training_gta2city_deeplabv3plus_r50.py'

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/smoke_gta2city', width=64, height=32)

model = dict(
    backbone=dict(base_channels=4, stem_channels=4, init_cfg=None),
    decode_head=dict(in_channels=128, channels=32, c1_in_channels=16, c1_channels=16),
)
train_dataloader = dict(order=dict(temperature=0.1, min_pixels=5, min_crop_share=0.2))
train_cfg = dict(max_iters=4, val_interval=4)
