"""A smoke-sized self_training_gta2city_upernet_dinov2_s: four iterations on a built-in world."""

_base_ = '../self_training_gta2city_upernet_dinov2_s.py'

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/smoke_gta2city', width=64, height=32)

model = dict(
    backbone=dict(config=dict(hidden_size=16, num_attention_heads=2), init_cfg=None),
    neck=dict(in_channels=[16] * 4, out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=64),
)
train_dataloader = dict(order=dict(temperature=0.1, min_pixels=5, min_crop_share=0.2))
train_cfg = dict(max_iters=4, val_interval=4)
