"""A short run of 660 iterations whose rate falls towards 0, for a small network on a CPU."""

_base_ = 'adam_440.py'

train_cfg = dict(max_iters=660, val_interval=110)
param_scheduler = dict(encoder=[dict(type='PolyLR', by_epoch=False, power=0.9, begin=0, end=660)])
