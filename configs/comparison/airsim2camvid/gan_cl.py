"""The paper's method: players, then the Conservative Loss."""

_base_ = '../../cl_airsim2camvid_efficientnet.py'

train_cfg = dict(max_iters=660, val_interval=220)
default_hooks = dict(checkpoint=dict(interval=220, max_keep_ckpts=-1), logger=dict(interval=20))
param_scheduler = dict(encoder=[dict(type='PolyLR', by_epoch=False, power=0.9, begin=0, end=660)])

adaptations = dict(image_adversary=dict(begin=1 / 3))
source_loss = dict(main=dict(clamp=None), warm_fraction=1 / 3)  # the paper's bare loss
