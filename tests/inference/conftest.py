import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.datasets import CityscapesDataset
from mmseg.registry import MODELS

from cda_mmseg.engine import read_config
from tests.tool_processes import ROOT, SMOKE, finish_tool, options, output_of, start_tool


@pytest.fixture(scope='session')
def weights(tmp_path_factory):
    """A checkpoint of the smoke network that predicts several classes."""
    torch.manual_seed(0)
    init_default_scope('mmseg')
    model = MODELS.build(read_config(SMOKE).model)
    state = model.state_dict()
    for name, value in state.items():
        if value.ndim == 4 and not name.startswith('adaptations'):
            torch.nn.init.kaiming_normal_(value)
        if name.startswith('decode_head') and value.ndim == 1:
            torch.nn.init.zeros_(value)
    path = tmp_path_factory.mktemp('weights') / 'weights.pth'
    meta = {key: CityscapesDataset.METAINFO[key] for key in ('classes', 'palette')}
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=meta)), path)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures of two sizes, some in a folder of their own."""
    pictures = tmp_path / 'pictures'
    (pictures / 'more').mkdir(parents=True)
    for number in range(20):
        size = (32, 64) if number % 7 else (48, 64)
        pixels = cv2.resize(np.random.randint(0, 256, (8, 8, 3), np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(pictures / ('more' if number % 2 else '.') / f'{number:02}.png'), pixels)
    return pictures


@pytest.fixture(scope='session')
def runs(smoke_worlds, tmp_path_factory):
    """Folder with a run per network, two iterations long: ``fcn8s/iter_2.pth``, ``segformer/iter_2.pth``."""
    folder = tmp_path_factory.mktemp('runs')
    changes = dict(train_cfg__max_iters=2, train_cfg__val_interval=2)
    changes['default_hooks__checkpoint__save_best'] = 'target/mIoU'
    configs = dict(fcn8s='cl_gta2city', segformer='cl_gta2city_segformer_b0')
    for name, config in configs.items():
        path = str(ROOT / 'configs' / 'smoke' / f'{config}.py')
        process = start_tool(folder / name, smoke_worlds, *options(**changes), config=path)
        assert finish_tool(process) == 0, output_of(folder / name)
    return folder
