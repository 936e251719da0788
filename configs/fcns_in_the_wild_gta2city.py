"""FCNs in the Wild on GTAV to Cityscapes, with the paper's FCN8s in place of the dilated VGG16."""

_base_ = [
    '_base_/models/fcn8s_vgg16.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '_base_/methods/fcns_in_the_wild.py',  # players and losses
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]
