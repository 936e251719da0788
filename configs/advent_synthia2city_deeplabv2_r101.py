"""ADVENT, adversarial, on SYNTHIA to Cityscapes with DeepLabV2-ResNet101."""

_base_ = [
    '_base_/models/deeplabv2_r101.py',  # network and its initial weights
    '_base_/datasets/synthia_to_cityscapes.py',  # source and target data
    '_base_/methods/advent.py',  # players and losses
    '_base_/schedules/sgd_poly_250k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]
execution = dict(batch_domains=False)  # one domain's activations at a time
train_cfg = dict(max_iters=120000)
