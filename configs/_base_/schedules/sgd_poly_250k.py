"""SGD on a polynomial that would end at 250 k iterations, stopped at 150 k (AdaptSegNet)."""

train_cfg = dict(type='UDATrainLoop', max_iters=150000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',  # what mmseg's train.py --amp looks for; each player has its own
    constructor='PlayerOptimWrapperConstructor',
    encoder=dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
        paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0), auxiliary_head=dict(lr_mult=10.0))),
    ),
)
param_scheduler = dict(encoder=[dict(type='PolyLR', by_epoch=False, power=0.9, end=250000)])
