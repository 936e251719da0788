"""SYNTHIA-RAND-CITYSCAPES with labels to Cityscapes without, read as downloaded, at 1024×512."""

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabelIds', encoding='red16', id_map='synthia'),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 1024)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='PositionSampler'),
    dataset=dict(
        type='SynthiaDataset',
        data_root='data/synthia/RAND_CITYSCAPES',
        holdout=False,  # the images of source/mIoU stay in training, as in the paper
        pipeline=train_pipeline,
    ),
)
target_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='PositionSampler'),
    dataset=dict(
        type='CityscapesDataset',
        data_root='data/cityscapes',
        data_prefix=dict(img_path='leftImg8bit/train'),
        # No labels are loaded: their files need not exist.
        pipeline=[
            dict(type='LoadImage'),
            dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(512, 1024)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
# How mmseg's inferencer reads an image.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    dict(type='PackSegInputs'),
]
# Both domains in one pass: width 1024 in, labels at full resolution.
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BothDomainsDataset',
        pipeline=test_pipeline,
        datasets=[
            dict(
                type='CityscapesDataset',
                data_root='data/cityscapes',
                data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
                seg_map_suffix='_gtFine_labelIds.png',
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
                    dict(type='LoadLabelIds', encoding='index', id_map='cityscapes'),
                    dict(type='TagDomain', domain='target'),
                    dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain')),
                ],
            ),
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
    type='DomainIoUMetric',
    # The 16 classes that SYNTHIA shares with Cityscapes, and the 13 of them without wall, fence and pole.
    class_lists=dict(
        mIoU16=[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18],
        mIoU13=[0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18],
    ),
)
test_evaluator = val_evaluator
