"""MIC on DAFormer, on SYNTHIA to Cityscapes, rare classes drawn more often."""

_base_ = [
    '_base_/models/daformer_mit_b5.py',  # network and its initial weights
    '_base_/datasets/synthia_to_cityscapes_512.py',  # source and target data
    '_base_/methods/mic.py',  # the same with masked images
    '_base_/schedules/adamw_warmup_40k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

train_dataloader = dict(order=dict(type='RareClassOrder', temperature=0.01))
