"""Source-only with colour jitter: no target."""

_base_ = '../../source_only_airsim2camvid_efficientnet.py'

train_cfg = dict(max_iters=660, val_interval=220)
default_hooks = dict(checkpoint=dict(interval=220, max_keep_ckpts=-1), logger=dict(interval=20))
param_scheduler = dict(encoder=[dict(type='PolyLR', by_epoch=False, power=0.9, begin=0, end=660)])

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(96, 128)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
