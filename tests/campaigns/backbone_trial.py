"""Two steps of the paper's method, its players small, with a network of mmseg or of transformers as it is, on a CPU.

python -m tests.campaigns.backbone_trial prints the table of docs/backbones.md.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import mmseg
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import cda_mmseg.registration  # noqa: F401
from cda_mmseg.engine import compose

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
STOCK = Path(mmseg.__path__[0]) / '.mim' / 'configs'
SIDE = 64
REASONS = {
    'learns statistics over the batch': 'refused: BatchNorm would learn from both domains at once',
    'gets one value a channel': 'refused: BatchNorm after global pooling has one value a channel',
}


def of_mmseg(name: str) -> dict:
    return Config.fromfile(STOCK / f'{name}.py').model.to_dict()


def of_transformers(channels: list[int], **config: object) -> dict:
    """UPerNet as mmseg has it; maps of one size get a pyramid first."""
    neck = dict(type='MultiLevelNeck', in_channels=channels, out_channels=channels[0], scales=[4, 2, 1, 0.5])
    model = of_mmseg('_base_/models/upernet_swin')
    model |= dict(backbone=dict(type='TransformersBackbone', config=config), auxiliary_head=None)
    model['decode_head'] |= dict(in_channels=channels)
    return model | (dict(neck=neck) if len(set(channels)) == 1 else {})


LEVELS = dict(out_indices=[3, 6, 9, 12])
NETWORKS: dict[str, Callable[[], dict]] = {
    'FCN, ResNet-50': partial(of_mmseg, '_base_/models/fcn_r50-d8'),
    'DeepLabV3+, ResNet-50': partial(of_mmseg, '_base_/models/deeplabv3plus_r50-d8'),
    'UPerNet, Swin-T': partial(of_mmseg, '_base_/models/upernet_swin'),
    'SegFormer, MiT-B0': partial(of_mmseg, '_base_/models/segformer_mit-b0'),
    'FCN, HRNet-W18': partial(of_mmseg, '_base_/models/fcn_hr18'),
    'FCN, MobileNetV2': partial(of_mmseg, 'mobilenet_v2/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024'),
    'FPN, Twins-PCPVT-S': partial(of_mmseg, '_base_/models/twins_pcpvt-s_fpn'),
    'UPerNet, ViT-B': partial(of_mmseg, '_base_/models/upernet_vit-b16_ln_mln'),
    'SegNeXt, MSCAN-T': partial(of_mmseg, 'segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512'),
    'STDC1': partial(of_mmseg, '_base_/models/stdc'),
    'BiSeNetV1, ResNet-18': partial(of_mmseg, '_base_/models/bisenetv1_r18-d32'),
    'UPerNet, ConvNeXt-T (transformers)': partial(
        of_transformers, [96, 192, 384, 768], model_type='convnext', out_indices=[1, 2, 3, 4]
    ),
    'UPerNet, DINOv2-S (transformers)': partial(
        of_transformers, [384] * 4, model_type='dinov2', hidden_size=384, num_attention_heads=6, **LEVELS
    ),
    'UPerNet, DINOv3-S (transformers)': partial(of_transformers, [384] * 4, model_type='dinov3_vit', **LEVELS),
}


def dicts_in(node: object) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        yield from dicts_in(value)


def adapted(network: str, freeze: bool) -> Config:
    """Give a network the paper's method, one image of each domain in a batch, no weights to load and no GPU."""
    model = NETWORKS[network]()
    for part in dicts_in(model):
        if part.get('type') == 'SyncBN':
            part['type'] = 'BN'
        part.pop('init_cfg', None)
    model |= dict(type='UDASegmentor', pretrained=None, freeze_batch_norm=freeze)
    model['data_preprocessor'] |= dict(size=(SIDE, SIDE))
    model['decode_head'].pop('loss_decode')
    config = Config.fromfile(CONFIGS / 'gan_ce_gta2city.py')
    config.model = model
    config.adaptations.image_adversary.generator |= dict(base_channels=8, max_channels=32)
    config.adaptations.image_adversary.discriminator |= dict(base_channels=8)
    compose(config)
    return config


def train(config: Config, steps: int = 2) -> None:
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(config.model).train()
    optimizers = build_optim_wrapper(model, config.optim_wrapper)
    for _ in range(steps):
        data = {}
        for domain in ('source', 'target'):
            sample = SegDataSample(
                metainfo=dict(img_shape=(SIDE, SIDE)), gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, SIDE, SIDE)))
            )
            image = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8)
            data[domain] = dict(inputs=[image], data_samples=[sample])
        model.train_step(data, optimizers)


def result(network: str, freeze: bool) -> str:
    try:
        train(adapted(network, freeze))
    except (ValueError, RuntimeError, TypeError) as error:
        text = str(error).replace('\n', ' ')
        return next((reason for part, reason in REASONS.items() if part in text), f'refused: {text}')
    return 'trains'


if __name__ == '__main__':
    print('| network | as it is | `freeze_batch_norm=True` |\n|---|---|---|')
    for network in NETWORKS:
        print(f'| {network} | {result(network, False)} | {result(network, True)} |', flush=True)
