"""The paper's full method on SYNTHIA to Cityscapes."""

_base_ = [
    '_base_/models/fcn8s_vgg16.py',  # network and its initial weights
    '_base_/datasets/synthia_to_cityscapes.py',  # source and target data
    '_base_/methods/gan_cl_clamped.py',  # players and losses; the paper's bare loss: gan_cl.py
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]
