"""The baseline."""

_base_ = '../../source_only_airsim2camvid_efficientnet.py'

train_cfg = dict(max_iters=660, val_interval=220)
default_hooks = dict(checkpoint=dict(interval=220, max_keep_ckpts=-1), logger=dict(interval=20))
param_scheduler = dict(encoder=[dict(type='PolyLR', by_epoch=False, power=0.9, begin=0, end=660)])
