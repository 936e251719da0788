"""GAN with cross entropy on GTAV to Cityscapes."""

_base_ = [
    '_base_/models/fcn8s_vgg16.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '_base_/methods/gan_ce.py',  # players and losses
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]
