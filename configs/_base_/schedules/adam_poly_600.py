"""A run of 600 iterations whose rate falls towards 0, on drawn streets, for a small network with ImageNet weights."""

_base_ = 'adam_440.py'

train_cfg = dict(max_iters=600, val_interval=300)
optim_wrapper = dict(encoder=dict(optimizer=dict(lr=3e-4)))
param_scheduler = dict(encoder=[dict(type='PolyLR', by_epoch=False, power=0.9, begin=0, end=600)])
