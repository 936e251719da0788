"""Self-training with the Conservative Loss on the source, on GTAV to Cityscapes with DeepLabV2-ResNet101."""

_base_ = [
    '_base_/models/deeplabv2_r101.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '_base_/methods/self_training_cl.py',  # losses, teacher and mixed images
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

train_dataloader = dict(order=dict(type='RareClassOrder', temperature=0.01))
