"""DeepLabV2 on ResNet-101, the second network of the field."""

model = dict(
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 1024),
    ),
    backbone=dict(
        type='ResNet',
        depth=101,
        out_indices=(1, 2, 3),
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_cfg=dict(type='BN'),
        norm_eval=True,  # one BatchNorm fed by both domains would mix their statistics
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet101-63fe2227.pth'),
    ),
    decode_head=dict(
        type='ASPPHead',
        in_channels=2048,
        in_index=2,
        channels=512,
        dilations=(6, 12, 18, 24),
        num_classes=19,
        norm_cfg=dict(type='GN', num_groups=32),
    ),
    test_cfg=dict(mode='whole'),
)
