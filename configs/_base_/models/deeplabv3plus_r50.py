"""DeepLabV3+ on ResNet-50, without an auxiliary head."""

data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=(512, 512),
)
model = dict(
    type='UDASegmentor',
    data_preprocessor=data_preprocessor,
    freeze_batch_norm=True,  # fed by both domains it would mix their statistics
    backbone=dict(
        type='ResNetV1c',
        depth=50,
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        contract_dilation=True,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet50_v1c'),
    ),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=2048,
        in_index=3,
        channels=512,
        dilations=(1, 12, 24, 36),
        c1_in_channels=256,
        c1_channels=48,
        num_classes=19,
        norm_cfg=dict(type='GN', num_groups=16),  # new layers have no statistics to keep
    ),
    test_cfg=dict(mode='whole'),
)
