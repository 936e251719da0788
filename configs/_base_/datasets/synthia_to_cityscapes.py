"""SYNTHIA-RAND-CITYSCAPES with labels to Cityscapes without, read as downloaded, at 1024×512."""

_base_ = 'gtav_to_cityscapes.py'

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabelIds', encoding='red16', id_map='synthia'),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 1024)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    dataset=dict(type='SynthiaDataset', data_root='data/synthia/RAND_CITYSCAPES', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(
        datasets=[
            _base_.val_dataloader.dataset.datasets[0],
            dict(
                type='SynthiaDataset',
                data_root='data/synthia/RAND_CITYSCAPES',
                part='monitor',  # a fixed sample of 500 images, chosen by a hash of their names
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
                    dict(type='LoadLabelIds', encoding='red16', id_map='synthia'),
                    dict(type='TagDomain', domain='source'),
                    dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain')),
                ],
            ),
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    # The 16 classes that SYNTHIA shares with Cityscapes, and the 13 of them without wall, fence and pole.
    class_lists=dict(
        mIoU16=[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18],
        mIoU13=[0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18],
    ),
)
test_evaluator = val_evaluator
