"""AdamW with a warm-up of 1,500 iterations on a rate that falls to 0 at 40 k (DAFormer)."""

train_cfg = dict(type='UDATrainLoop', max_iters=40000, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',  # what mmseg's train.py --amp looks for; each player has its own
    constructor='PlayerOptimWrapperConstructor',
    encoder=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
        paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=dict(decode_head=dict(lr_mult=10.0))),
    ),
)
param_scheduler = dict(
    encoder=[
        dict(type='LinearLR', by_epoch=False, start_factor=1e-6, end=1500),
        dict(type='PolyLR', by_epoch=False, power=1.0, end=40000),
    ],
)
