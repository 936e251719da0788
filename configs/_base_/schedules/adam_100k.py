"""Adam as in the paper (§4.2); rates, steps and length are ours."""

train_cfg = dict(type='UDATrainLoop', max_iters=100000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',  # what mmseg's train.py --amp looks for; each player has its own
    constructor='PlayerOptimWrapperConstructor',
    encoder=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-5, betas=(0.9, 0.999), fused=True)),
)
param_scheduler = dict(
    encoder=[dict(type='MultiStepLR', by_epoch=False, milestones=[50000], gamma=0.1)],
)
