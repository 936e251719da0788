"""Self-training on GTAV to Cityscapes with the paper's FCN8s, which has no normalisation: watch for a collapse."""

_base_ = [
    '_base_/models/fcn8s_vgg16.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '_base_/methods/self_training.py',  # teacher and mixed images
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

train_dataloader = dict(order=dict(type='RareClassOrder', temperature=0.01))
