"""The full method on GTAV to Cityscapes with SegFormer MiT-B0: another network is one other line."""

_base_ = [
    '_base_/models/segformer_mit_b0.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '_base_/methods/gan_cl_clamped.py',  # players and losses; the paper's bare loss: gan_cl.py
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]
