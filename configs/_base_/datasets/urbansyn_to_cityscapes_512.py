"""UrbanSyn with labels to Cityscapes without, read as downloaded, in crops of 512×512 from width 1024."""

_base_ = 'gtav_to_cityscapes_512.py'

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabelIds', encoding='index', id_map='urbansyn'),
    dict(type='Resize', scale=(1024, 512), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='UrbanSynDataset',
        data_root='data/urbansyn',
        holdout=False,  # the images of source/mIoU stay in training
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        datasets=[
            _base_.val_dataloader.dataset.datasets[0],
            dict(
                type='UrbanSynDataset',
                data_root='data/urbansyn',
                part='monitor',  # a fixed sample of 500 images, chosen by a hash of their names
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
                    dict(type='LoadLabelIds', encoding='index', id_map='urbansyn'),
                    dict(type='TagDomain', domain='source'),
                    dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain')),
                ],
            ),
        ],
    ),
)
test_dataloader = val_dataloader
