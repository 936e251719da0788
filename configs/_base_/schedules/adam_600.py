"""A short run of 600 iterations, for small images on a CPU."""

train_cfg = dict(type='UDATrainLoop', max_iters=600, val_interval=100)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',  # what mmseg's train.py --amp looks for; each player has its own
    constructor='PlayerOptimWrapperConstructor',
    encoder=dict(
        type='OptimWrapper',
        optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999), fused=True),
        paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),  # score layers start at zero
    ),
)
param_scheduler = dict(
    # The rate drops where the warm start ends, as in the long schedule.
    encoder=[dict(type='MultiStepLR', by_epoch=False, milestones=[300], gamma=0.1)],
)
