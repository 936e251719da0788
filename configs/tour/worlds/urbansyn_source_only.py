"""The demo's source-only run on built-in streets in UrbanSyn's layout."""

_base_ = [
    '../../_base_/models/fpn_efficientnet_lite0.py',  # network and its initial weights
    '../../_base_/datasets/urbansyn_to_cityscapes_512.py',  # source and target data
    '../../_base_/methods/source_only.py',  # the baseline
    '../../_base_/schedules/adam_poly_600.py',  # optimizers and length
    '../../_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

from cda_mmseg.datasets.worlds import use_world  # noqa: E402

use_world(_base_, 'data/worlds/urbansyn2city', width=192, height=96)

model = dict(decode_head=dict(num_classes=19))
execution = dict(channels_last=True)
train_dataloader, target_dataloader = dict(batch_size=4), dict(batch_size=4)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=-1), logger=dict(interval=10))
