"""FCN8s on VGG16, the paper's network (§4.2)."""

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
    backbone=dict(
        type='VGG',
        depth=16,
        out_indices=(2, 3, 5),  # pool3, pool4, fc7
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/vgg16-397923af.pth'),
    ),
    decode_head=dict(type='FCN8sHead', in_channels=[256, 512, 4096], in_index=[0, 1, 2], num_classes=19),
    test_cfg=dict(mode='whole'),
)
