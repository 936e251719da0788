"""UPerNet on DINOv2-S, from transformers: pip install '.[backbones]'."""

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
    backbone=dict(
        type='TransformersBackbone',
        config=dict(
            model_type='dinov2',
            hidden_size=384,
            num_attention_heads=6,
            image_size=518,  # of the weights; pictures may have any
            out_indices=[3, 6, 9, 12],
        ),
        init_cfg=dict(type='Pretrained', checkpoint='facebook/dinov2-small'),
    ),
    neck=dict(type='MultiLevelNeck', in_channels=[384] * 4, out_channels=384, scales=[4, 2, 1, 0.5]),
    decode_head=dict(
        type='UPerHead',
        in_channels=[384] * 4,
        in_index=[0, 1, 2, 3],
        channels=512,
        num_classes=19,
        norm_cfg=dict(type='GN', num_groups=32),  # pooled to 1×1, one image gives BatchNorm one value a channel
    ),
    test_cfg=dict(mode='whole'),
)
