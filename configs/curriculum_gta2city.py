"""Curriculum adaptation on GTAV to Cityscapes; needs `pip install ".[superpixels]"`."""

_base_ = [
    '_base_/models/fcn8s_vgg16.py',  # network and its initial weights
    '_base_/datasets/gtav_to_cityscapes.py',  # source and target data
    '_base_/methods/curriculum.py',  # players and losses
    '_base_/schedules/adam_100k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]
target_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            dict(type='LoadSuperpixels', segments=100),
            dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(512, 1024)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ]
    )
)
