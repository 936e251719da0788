import mmcv
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS

from cda_mmseg.visualization.reconstruction import reconstruct
from tests.visualization.conftest import ADVERSARIAL

BGR = dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, size=(8, 16))


def build(config):
    init_default_scope('mmseg')
    return MODELS.build(config.model).eval(), DATASETS.build(config.val_dataloader.dataset)


def normalize(path, preprocessor):
    """Do by hand what the test pipeline and the preprocessor do: resize as loaded, then RGB, then mean and std."""
    image = mmcv.imresize(mmcv.imread(path), (16, 8))
    image = image[:, :, ::-1] if preprocessor.get('bgr_to_rgb') else image
    image = (image.astype(np.float32) - preprocessor['mean']) / preprocessor['std']
    return torch.tensor(image.transpose(2, 0, 1), dtype=torch.float32)[None]


@pytest.mark.parametrize('changes', [{}, dict(data_preprocessor=BGR)], ids=['RGB', 'BGR'])
@pytest.mark.parametrize('index', [1, 5], ids=['target', 'source'])
def test_the_generator_of_the_domain_rebuilds_the_picture_in_rgb(make_config, changes, index):
    config = make_config(**ADVERSARIAL, **changes)
    model, dataset = build(config)
    inputs = normalize(dataset[index]['data_samples'].img_path, config.model.data_preprocessor)
    domain = dataset[index]['data_samples'].domain
    with torch.no_grad():
        picture = model.generator.rebuild(domain, model.backbone(inputs), (8, 16))[0]
    picture = picture.flip(0) if changes else picture
    expected = (picture.permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(reconstruct(model, dataset[index]) - expected).max() <= 0.5 + 1e-3


def test_without_a_generator_there_is_nothing(make_config):
    model, dataset = build(make_config(type='EncoderDecoder'))
    assert reconstruct(model, dataset[0]) is None
