"""A tiny segmentor and its data, for tests of the training step."""

import copy

import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import cda_mmseg.registration  # noqa: F401

SEED = 7
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
WEIGHTS = dict(encoder_adversarial_weight=0.05, generator_adversarial_weight=0.1, reconstruction_weight=1.0)


def model_config(**changes) -> dict:
    config = dict(
        type='AdversarialUDASegmentor',
        data_preprocessor=dict(type='SegDataPreProcessor', mean=MEAN, std=STD, bgr_to_rgb=True, size=(32, 48)),
        backbone=dict(type='VGG', depth=11, base_channels=4, fc_channels=16, dropout=0.5),
        decode_head=dict(
            type='FCN8sHead',
            in_channels=[16, 32, 16],
            num_classes=5,
            zero_init=False,
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
        ),
        generator=dict(type='ImageGenerator', base_channels=4, max_channels=16, dropout=0.2),
        discriminator=dict(type='PatchGANDiscriminator', base_channels=4, num_layers=3),
        loss_gan=dict(type='GANLoss', gan_type='vanilla'),
        **WEIGHTS,
    )
    return {**config, **changes}


# Of the paper's adaptation, for tests that name its settings beside the network's.
OF_THE_ADVERSARY = (
    *('generator', 'discriminator', 'loss_gan', 'generator_sharing', 'discriminator_sharing', 'encoder_labels'),
    *WEIGHTS,
)


def build(config: dict, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    config = copy.deepcopy(config)
    adversary = {key: config.pop(key) for key in OF_THE_ADVERSARY if key in config}
    if adversary:
        config['adaptations'] = dict(image_adversary=dict(type='ImageAdversary', **adversary))
    torch.manual_seed(SEED)
    model = MODELS.build(config)
    model.init_weights()
    model = model.to(dtype).train()
    # The buffers were rounded to float32 before; the naive step computes with the numbers themselves.
    model.data_preprocessor.mean.copy_(torch.tensor(MEAN, dtype=dtype).view(3, 1, 1))
    model.data_preprocessor.std.copy_(torch.tensor(STD, dtype=dtype).view(3, 1, 1))
    return model


def make_data(iteration: int, batch_size: int = 1, labelled_target: bool = False) -> dict:
    generator = torch.Generator().manual_seed(iteration)
    data = {}
    for domain in ('source', 'target'):
        inputs, samples = [], []
        for _ in range(batch_size):
            inputs.append(torch.randint(0, 256, (3, 32, 48), generator=generator, dtype=torch.uint8))
            sample = SegDataSample(metainfo=dict(img_shape=(32, 48), img_path=f'{domain}_{iteration}.png'))
            if domain == 'source' or labelled_target:
                label = torch.randint(0, 5, (1, 32, 48), generator=generator)
                label[:, :4] = 255
                sample.gt_sem_seg = PixelData(data=label)
            samples.append(sample)
        data[domain] = dict(inputs=inputs, data_samples=samples)
    return data


def optimizer_config(kind: str, accumulation: int = 1, lr: float = 0.05) -> dict:
    optimizer = dict(type='SGD', lr=lr, momentum=0.9) if kind == 'SGD' else dict(type='Adam', lr=1e-3)
    player = dict(type='OptimWrapper', optimizer=optimizer, accumulative_counts=accumulation)
    names = ('encoder', 'generator', 'discriminator')
    return dict(constructor='PlayerOptimWrapperConstructor', **{name: player for name in names})


def double_precision(preprocess):
    """Do what mmseg's preprocessor does, which casts images to float32, in float64."""

    def forward(data, training):
        preprocessor = preprocess.__self__
        images = [(image[[2, 1, 0]].double() - preprocessor.mean) / preprocessor.std for image in data['inputs']]
        return dict(inputs=torch.stack(images), data_samples=data['data_samples'])

    return forward
