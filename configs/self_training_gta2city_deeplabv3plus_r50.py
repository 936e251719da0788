"""Self-training on GTAV to Cityscapes with DeepLabV3+-ResNet50, rare classes drawn more often."""

_base_ = [
    '_base_/models/deeplabv3plus_r50.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes_512.py',  # source and target data
    '_base_/methods/self_training.py',  # teacher and mixed images
    '_base_/schedules/adamw_warmup_40k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

train_dataloader = dict(order=dict(type='RareClassOrder', temperature=0.01))
