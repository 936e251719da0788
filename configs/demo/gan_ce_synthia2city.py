"""GAN with cross entropy on built-in streets that stand for SYNTHIA: a small network trained from scratch on a CPU."""

_base_ = '../gan_ce_synthia2city.py'

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/synthia2city', width=192, height=96)

model = dict(
    backbone=dict(depth=11, base_channels=16, fc_channels=128, norm_cfg=dict(type='GN', num_groups=8), init_cfg=None),
    decode_head=dict(in_channels=[64, 128, 128], zero_init=False),
)
adaptations = dict(
    image_adversary=dict(
        generator=dict(base_channels=8, max_channels=64),
        discriminator=dict(base_channels=16, num_layers=4),
    )
)
train_dataloader = dict(batch_size=4)
target_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=700, val_interval=175)
optim_wrapper = dict(encoder=dict(optimizer=dict(lr=1e-3)))
param_scheduler = dict(encoder=[dict(type='MultiStepLR', by_epoch=False, milestones=[350], gamma=0.1)])
