"""SYNTHIA with labels to Cityscapes without, in crops of 512×512 as DAFormer takes them: SYNTHIA larger."""

_base_ = 'synthia_to_cityscapes.py'

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabelIds', encoding='red16', id_map='synthia'),
    dict(type='Resize', scale=(1280, 760), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        pipeline=train_pipeline,
    ),
)
target_dataloader = dict(
    batch_size=2,
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            dict(type='Resize', scale=(1024, 512), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(512, 512)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
