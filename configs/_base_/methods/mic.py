"""MIC on DAFormer: the student also labels target images of which 70 % is masked."""

_base_ = 'daformer.py'

adaptations = dict(self_training=dict(masked_weight=1.0, masked_ratio=0.7, block_size=32))
