"""A short run of 600 iterations, for small images on a CPU."""

train_cfg = dict(type='UDATrainLoop', max_iters=600, val_interval=50)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    constructor='PlayerOptimWrapperConstructor',
    encoder=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999))),
)
param_scheduler = dict(encoder=[], generator=[], discriminator=[])
