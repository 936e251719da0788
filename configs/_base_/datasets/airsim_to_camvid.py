"""Your own two data sets, worked out: AirSim (labels) to CamVid (none), six shared classes, crops of 128×96 at full size."""

# Two underscores: a name of this file only, no key of the config.
__classes = dict(
    classes=('road', 'building', 'fence', 'vegetation', 'sky', 'car'),
    palette=[[128, 64, 128], [70, 70, 70], [190, 153, 153], [107, 142, 35], [70, 130, 180], [0, 0, 142]],
)
train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='PositionSampler'),
    dataset=dict(
        type='BaseSegDataset',
        data_root='data/airsim2camvid/airsim',
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        img_suffix='_leftImg8bit.jpg',
        seg_map_suffix='_gtFine_common6.png',
        metainfo=__classes,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='LoadAnnotations'),
            dict(type='RandomCrop', crop_size=(96, 128)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
target_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='PositionSampler'),
    dataset=dict(
        type='BaseSegDataset',
        data_root='data/airsim2camvid/camvid',
        data_prefix=dict(img_path='leftImg8bit/train'),
        img_suffix='_leftImg8bit.jpg',
        seg_map_suffix='_gtFine_common6.png',
        metainfo=__classes,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='RandomCrop', crop_size=(96, 128)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
# How mmseg's inferencer reads an image.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 192), keep_ratio=True),
    dict(type='PackSegInputs'),
]
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BothDomainsDataset',
        pipeline=test_pipeline,
        datasets=[
            dict(
                type='BaseSegDataset',
                data_root='data/airsim2camvid/camvid',
                data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
                img_suffix='_leftImg8bit.jpg',
                seg_map_suffix='_gtFine_common6.png',
                metainfo=__classes,
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='LoadAnnotations'),
                    dict(type='TagDomain', domain='target'),
                    dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain')),
                ],
            ),
            dict(
                type='BaseSegDataset',
                data_root='data/airsim2camvid/airsim',
                data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
                img_suffix='_leftImg8bit.jpg',
                seg_map_suffix='_gtFine_common6.png',
                metainfo=__classes,
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='LoadAnnotations'),
                    dict(type='TagDomain', domain='source'),
                    dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain')),
                ],
            ),
        ],
    ),
)
test_dataloader = val_dataloader

# Fence and car stay near 0 on this target, so the mean over the other four stands beside.
val_evaluator = dict(type='DomainIoUMetric', class_lists=dict(mIoU4=['road', 'building', 'vegetation', 'sky']))
test_evaluator = val_evaluator
