"""The full method on GTAV to Cityscapes with DeepLabV2-ResNet101, whose head reads one map alone."""

_base_ = [
    '_base_/models/deeplabv2_r101.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '_base_/methods/gan_cl.py',  # players and losses
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

# The method is laid over the network and the schedule; nothing reads it afterwards.
model, optim_wrapper, method = _base_.method.model, _base_.method.optim_wrapper, None
model.generator.update(in_channels=[512, 1024, 2048], in_index=[0, 1, 2])  # more maps for G
