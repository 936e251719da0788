"""DeepLabV2 on ResNet-101 with an auxiliary head on layer 3, the network of most published comparisons."""

data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=(512, 1024),
)
model = dict(
    type='UDASegmentor',
    data_preprocessor=data_preprocessor,
    freeze_batch_norm=True,  # fed by both domains it would mix their statistics
    backbone=dict(
        type='ResNet',
        depth=101,
        out_indices=(1, 2, 3),
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_cfg=dict(type='BN', requires_grad=False),
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet101-63fe2227.pth'),
    ),
    decode_head=dict(type='DeepLabV2Head', in_channels=2048, in_index=2, num_classes=19),
    auxiliary_head=dict(
        type='DeepLabV2Head',
        in_channels=1024,
        in_index=1,
        num_classes=19,
        loss_decode=dict(type='SoftmaxCrossEntropyLoss', loss_weight=0.1),
    ),
    test_cfg=dict(mode='whole'),
)
