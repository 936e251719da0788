"""The paper's players and, after a third of the run, self-training, on GTAV to Cityscapes with DeepLabV2-ResNet101."""

_base_ = [
    '_base_/models/deeplabv2_r101.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '_base_/methods/gan_self_training.py',  # players, losses and teacher
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

train_dataloader = dict(order=dict(type='RareClassOrder', temperature=0.01))
# More maps for G than the head reads.
adaptations = dict(image_adversary=dict(generator=dict(in_channels=[512, 1024, 2048], in_index=[0, 1, 2])))
