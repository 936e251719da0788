"""LoveDA, land cover from above: rural scenes with labels to urban ones without, in crops of 512×512."""

# Two underscores: names of this file only, no keys of the config.
__train_loader = dict(batch_size=2, num_workers=2, persistent_workers=True, sampler=dict(type='PositionSampler'))
__data = dict(type='LoveDADataset', data_root='data/loveda')
__flip_and_pack = [
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackSegInputs'),
]

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
    *__flip_and_pack,
]
train_dataloader = dict(
    **__train_loader,
    dataset=dict(
        **__data,
        data_prefix=dict(img_path='Train/Rural/images_png', seg_map_path='Train/Rural/masks_png'),
        pipeline=train_pipeline,
    ),
)
target_dataloader = dict(
    **__train_loader,
    dataset=dict(
        **__data,
        data_prefix=dict(img_path='Train/Urban/images_png'),  # labels are there, and never opened
        pipeline=[dict(type='LoadImage'), dict(type='RandomCrop', crop_size=(512, 512)), *__flip_and_pack],
    ),
)
# How mmseg's inferencer reads an image.
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
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
                **__data,
                data_prefix=dict(img_path=f'Val/{region}/images_png', seg_map_path=f'Val/{region}/masks_png'),
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    dict(type='LoadAnnotations'),
                    dict(type='TagDomain', domain=domain),
                    dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain')),
                ],
            )
            for domain, region in (('target', 'Urban'), ('source', 'Rural'))
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='DomainIoUMetric')
test_evaluator = val_evaluator
