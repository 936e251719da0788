"""The full method on GTAV to Cityscapes with DeepLabV2-ResNet101, whose head reads one map alone."""

_base_ = [
    '_base_/models/deeplabv2_r101.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '_base_/methods/gan_cl_clamped.py',  # players and losses; the paper's bare loss: gan_cl.py
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]
# More maps for G than the head reads.
adaptations = dict(image_adversary=dict(generator=dict(in_channels=[512, 1024, 2048], in_index=[0, 1, 2])))
