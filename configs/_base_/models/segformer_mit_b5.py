"""SegFormer MiT-B5."""

_base_ = 'segformer_mit_b0.py'

data_preprocessor = dict(size=(512, 512))
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        embed_dims=64,
        num_layers=[3, 6, 40, 3],
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b5_20220624-658746d9.pth',
        ),
    ),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
