"""Cityscapes with labels to Dark Zurich's nights without, both at half size in crops of 512×512 (DAFormer)."""

# Two underscores: names of this file only, no keys of the config.
__train_loader = dict(batch_size=2, num_workers=2, persistent_workers=True, sampler=dict(type='PositionSampler'))
__pack = dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain'))

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadLabelIds', encoding='index', id_map='cityscapes'),
    dict(type='Resize', scale=(1024, 512), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    **__train_loader,
    dataset=dict(
        type='CityscapesDataset',
        data_root='data/cityscapes',
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        seg_map_suffix='_gtFine_labelIds.png',
        pipeline=train_pipeline,
    ),
)
target_dataloader = dict(
    **__train_loader,
    dataset=dict(
        type='DarkZurichDataset',
        data_root='data/dark_zurich',
        data_prefix=dict(img_path='rgb_anon/train/night'),
        pipeline=[
            dict(type='LoadImage'),
            dict(type='Resize', scale=(960, 540), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(512, 512)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
# How mmseg's inferencer reads an image.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(960, 540), keep_ratio=True),
    dict(type='PackSegInputs'),
]
# Both domains in one pass: half size in, labels at full resolution.
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
                type='DarkZurichDataset',
                data_root='data/dark_zurich',
                data_prefix=dict(img_path='rgb_anon/val/night', seg_map_path='gt/val/night'),
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='Resize', scale=(960, 540), keep_ratio=True),
                    dict(type='LoadLabelIds', encoding='index', id_map='train_ids'),
                    dict(type='TagDomain', domain='target'),
                    __pack,
                ],
            ),
            dict(
                type='CityscapesDataset',
                data_root='data/cityscapes',
                data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
                seg_map_suffix='_gtFine_labelIds.png',
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='Resize', scale=(1024, 512), keep_ratio=True),
                    dict(type='LoadLabelIds', encoding='index', id_map='cityscapes'),
                    dict(type='TagDomain', domain='source'),
                    __pack,
                ],
            ),
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='DomainIoUMetric')
test_evaluator = val_evaluator
