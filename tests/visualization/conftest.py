"""Tiny data and networks for figures that are made from real runs."""

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

import cda_mmseg.registration  # noqa: F401

CLASSES = ('road', 'traffic light', 'sky')
PALETTE = ([128, 64, 128], [250, 170, 30], [70, 130, 180])
ADVERSARIAL = dict(
    type='AdversarialUDASegmentor',
    adaptations=dict(
        image_adversary=dict(
            type='ImageAdversary',
            generator=dict(type='ImageGenerator', base_channels=4, in_channels=[4, 8], in_index=[1, 0]),
            discriminator=dict(type='PatchGANDiscriminator', base_channels=4),
            loss_gan=dict(type='GANLoss'),
            generator_sharing='per_domain',
        )
    ),
)
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def _write_domain(folder, count, labeled, seed):
    rng = np.random.default_rng(seed)
    (folder / 'img').mkdir(parents=True)
    (folder / 'label').mkdir()
    for index in range(count):
        Image.fromarray(rng.integers(256, size=(16, 32, 3), dtype=np.uint8)).save(folder / f'img/{index}.png')
        if labeled:
            Image.fromarray(rng.integers(3, size=(16, 32), dtype=np.uint8)).save(folder / f'label/{index}.png')


@pytest.fixture(scope='session')
def data_root(tmp_path_factory):
    """Write a source and a target with labels, and a target without."""
    root = tmp_path_factory.mktemp('data')
    for seed, (domain, labeled) in enumerate([('source', True), ('target', True), ('bare', False)]):
        _write_domain(root / domain, count=4, labeled=labeled, seed=seed)
    return root


@pytest.fixture
def make_config(data_root):
    """Return a function that makes the config of a network and of the validation on both domains."""

    def part(domain, folder, labeled):
        return dict(
            type='BaseSegDataset',
            metainfo=dict(classes=CLASSES, palette=PALETTE),
            data_root=str(data_root / folder),
            data_prefix=dict(img_path='img', seg_map_path='label') if labeled else dict(img_path='img'),
            img_suffix='.png',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(16, 8)),
                *([dict(type='LoadAnnotations')] if labeled else []),
                dict(type='TagDomain', domain=domain),
                dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain')),
            ],
        )

    def make(target='target', **model):
        return Config(
            dict(
                default_scope='mmseg',
                model=dict(
                    data_preprocessor=dict(
                        type='SegDataPreProcessor', mean=MEAN, std=STD, bgr_to_rgb=True, size=(8, 16)
                    ),
                    backbone=dict(
                        type='UNet',
                        base_channels=4,
                        num_stages=2,
                        strides=(1, 1),
                        enc_num_convs=(1, 1),
                        dec_num_convs=(1,),
                        downsamples=(True,),
                        enc_dilations=(1, 1),
                        dec_dilations=(1,),
                        norm_eval=True,
                    ),
                    decode_head=dict(
                        type='FCNHead',
                        in_channels=4,
                        in_index=1,
                        channels=4,
                        num_convs=1,
                        norm_cfg=dict(type='GN', num_groups=2),
                        num_classes=len(CLASSES),
                    ),
                    test_cfg=dict(mode='whole'),
                )
                | model,
                val_dataloader=dict(
                    batch_size=1,
                    sampler=dict(type='DefaultSampler', shuffle=False),
                    dataset=dict(
                        type='ConcatDataset',
                        datasets=[part('target', target, target == 'target'), part('source', 'source', True)],
                    ),
                ),
            )
        )

    return make
