"""Which networks become ONNX models: docs/export.md has the table, and each line of it is tried."""

import re

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmseg.datasets import CityscapesDataset
from mmseg.registry import MODELS

from cda_mmseg.engine import read_config
from cda_mmseg.inference.plain_network import plain_config
from tests.tool_processes import ROOT

onnx_export = pytest.importorskip('cda_mmseg.inference.onnx_export')

TABLE = dict(re.findall(r'^\| (.+?) \| (yes|no)\b.* \|$', (ROOT / 'docs' / 'export.md').read_text(), re.M))
BATCH_NORM = dict(type='BN', requires_grad=True)
RESNET = dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, norm_cfg=BATCH_NORM, norm_eval=True)


def smoke(name: str) -> ConfigDict:
    return read_config(ROOT / 'configs' / 'smoke' / f'{name}.py').model


def of_mmseg(backbone: dict, head: str, **more: object) -> ConfigDict:
    common = dict(type=head, channels=16, num_classes=19, norm_cfg=BATCH_NORM)
    preprocessor = smoke('cl_gta2city').data_preprocessor
    return ConfigDict(backbone=backbone, decode_head=common | more, data_preprocessor=preprocessor)


NETWORKS = {
    'FCN8s on VGG16': lambda: smoke('cl_gta2city'),
    'DeepLabV2 on ResNet-101': lambda: smoke('cl_gta2city_deeplabv2_r101'),
    'SegFormer on MiT-B0': lambda: smoke('cl_gta2city_segformer_b0'),
    'FCN on ResNet-18': lambda: of_mmseg(RESNET, 'FCNHead', in_channels=64, in_index=3, num_convs=1),
    'PSPNet on ResNet-18': lambda: of_mmseg(RESNET, 'PSPHead', in_channels=64, in_index=3, pool_scales=(1, 2, 3, 6)),
    'DeepLabV3+ on ResNet-18': lambda: of_mmseg(
        RESNET,
        'DepthwiseSeparableASPPHead',
        in_channels=64,
        in_index=3,
        dilations=(1, 12, 24, 36),
        c1_in_channels=8,
        c1_channels=8,
    ),
}


def test_the_table_has_every_network():
    assert TABLE.keys() == NETWORKS.keys()


@pytest.mark.campaign
@pytest.mark.parametrize('name', NETWORKS)
def test_the_table_is_right(name, tmp_path):
    init_default_scope('mmseg')
    config = read_config(ROOT / 'configs' / 'smoke' / 'cl_gta2city.py')
    config = Config(dict(model=NETWORKS[name](), test_pipeline=config.test_pipeline))
    plain = plain_config(config, {key: CityscapesDataset.METAINFO[key] for key in ('classes', 'palette')})
    model = MODELS.build(plain.model).eval()
    for value in model.parameters():
        if value.ndim > 1:
            torch.nn.init.kaiming_normal_(value)
    try:
        onnx_export.export(model, plain, tmp_path / 'model.onnx')
    except onnx_export.ExportError as error:
        print(error)
        assert TABLE[name] == 'no'
    else:
        assert TABLE[name] == 'yes'
