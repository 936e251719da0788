"""A short run of 440 iterations, for a small network on a CPU."""

train_cfg = dict(type='UDATrainLoop', max_iters=440, val_interval=110)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',  # what mmseg's train.py --amp looks for; each player has its own
    constructor='PlayerOptimWrapperConstructor',
    encoder=dict(
        type='OptimWrapper',
        optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999), fused=True),
        # Neck and head begin at random or at zero, the backbone does not.
        paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=10.0), decode_head=dict(lr_mult=10.0))),
    ),
)
param_scheduler = dict(
    # The rate drops where the warm start ends, as in the long schedule.
    encoder=[dict(type='MultiStepLR', by_epoch=False, milestones=[220], gamma=0.1)],
)
