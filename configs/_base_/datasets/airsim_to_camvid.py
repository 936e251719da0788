"""Your own two data sets, worked out: AirSim (labels) to CamVid (none), six shared classes, crops of 128×96."""

# Two underscores: names of this file only, no keys of the config.
__files = dict(
    type='BaseSegDataset',
    img_suffix='_leftImg8bit.jpg',
    seg_map_suffix='_gtFine_common6.png',
    metainfo=dict(
        classes=('road', 'building', 'fence', 'vegetation', 'sky', 'car'),
        palette=[[128, 64, 128], [70, 70, 70], [190, 153, 153], [107, 142, 35], [70, 130, 180], [0, 0, 142]],
    ),
)
__train_loader = dict(batch_size=1, num_workers=1, persistent_workers=True, sampler=dict(type='PositionSampler'))
__crop_and_flip = [
    dict(type='RandomCrop', crop_size=(96, 128)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
# What validation scores: two drives of the target, apart and as their mean (`target/mIoU`). Of 0006R0 nothing is in the
# training images; 0016E5 is a stretch between training images, the easier, transductive half.
__validated = (
    ('target_0006R0', 'camvid', 'val/0006R0'),
    ('target_0016E5', 'camvid', 'val/0016E5'),
    ('source', 'airsim', 'val'),
)
__pack = dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain'))

train_pipeline = [dict(type='LoadImage'), dict(type='LoadAnnotations'), *__crop_and_flip]
train_dataloader = dict(
    **__train_loader,
    dataset=dict(
        **__files,
        data_root='data/airsim2camvid/airsim',
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
    ),
)
target_dataloader = dict(
    **__train_loader,
    dataset=dict(
        **__files,
        data_root='data/airsim2camvid/camvid',
        data_prefix=dict(img_path='leftImg8bit/train'),  # no labels: their files need not exist
        pipeline=[dict(type='LoadImage'), *__crop_and_flip],
    ),
)

# How mmseg's inferencer reads an image.
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
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
                **__files,
                data_root=f'data/airsim2camvid/{folder}',
                data_prefix=dict(img_path=f'leftImg8bit/{part}', seg_map_path=f'gtFine/{part}'),
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='LoadAnnotations'),
                    dict(type='TagDomain', domain=domain),
                    __pack,
                ],
            )
            for domain, folder, part in __validated
        ],
    ),
)
test_dataloader = val_dataloader

# Fence and car stay near 0 on this target, so the mean over the other four stands beside.
val_evaluator = dict(type='DomainIoUMetric', class_lists=dict(mIoU4=['road', 'building', 'vegetation', 'sky']))
test_evaluator = val_evaluator
