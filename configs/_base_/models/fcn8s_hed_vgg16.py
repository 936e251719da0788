"""FCN8s on the convolutions of HED's VGG16 (ImageNet, then edge detection), narrow fc layers: trains on a CPU."""

# HED's input: BGR in 0..255 less the mean.
data_preprocessor = dict(
    type='SegDataPreProcessor', mean=[104.007, 116.669, 122.679], std=[1.0, 1.0, 1.0], size=(96, 128)
)
model = dict(
    type='UDASegmentor',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='VGG',
        depth=16,
        fc_channels=512,
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/vgg16_features_hed_fp16.pth'),
    ),
    # These features' rms are 22 (pool3), 7 (pool4) and 9 (fc7) on this data.
    decode_head=dict(
        type='FCN8sHead', in_channels=[256, 512, 512], in_index=[0, 1, 2], skip_scales=(0.3, 1.0), num_classes=6
    ),
    test_cfg=dict(mode='whole'),
)
