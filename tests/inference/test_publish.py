"""tools/publish_model.py, on checkpoints that real runs have saved."""

import hashlib
import json
import os
import pickle
import runpy
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS
from safetensors.torch import load_file

from cda_mmseg.engine import read_config
from cda_mmseg.inference import check_published, publish
from cda_mmseg.inference.model_card import model_card
from cda_mmseg.inference.plain_network import plain_config
from cda_mmseg.utils.loading import load_checkpoint_file
from tests.tool_processes import ROOT, SMOKE, finish_tool, options, output_of, start_tool

SMOKE_FOLDER = ROOT / 'configs' / 'smoke'
NETWORKS = {'fcn8s': 'cl_gta2city', 'segformer': 'cl_gta2city_segformer_b0'}


@pytest.fixture(scope='module')
def runs(smoke_worlds, tmp_path_factory):
    """Folder of a run per network, two iterations long."""
    folder = tmp_path_factory.mktemp('runs')
    changes = dict(train_cfg__max_iters=2, train_cfg__val_interval=2, default_hooks__checkpoint__save_best='target/mIoU')
    processes = {
        name: start_tool(folder / name, smoke_worlds, *options(**changes), config=str(SMOKE_FOLDER / f'{config}.py'))
        for name, config in NETWORKS.items()
    }
    for name, process in processes.items():
        assert finish_tool(process) == 0, output_of(folder / name)
    return folder


@pytest.fixture(scope='module')
def published(runs, tmp_path_factory):
    """The folder published of each run."""
    folder = tmp_path_factory.mktemp('published')
    for name in NETWORKS:
        publish.publish(str(runs / name / 'iter_2.pth'), str(folder / name))
    return folder


def run(monkeypatch, capfd, *arguments) -> tuple[int, list[str]]:
    """Run the tool inside this process; return its exit code and what it says on stderr."""
    monkeypatch.setattr(sys, 'argv', ['publish_model.py', *map(str, arguments)])
    code = 0
    try:
        runpy.run_path(str(ROOT / 'tools' / 'publish_model.py'), run_name='__main__')
    except SystemExit as end:
        code = end.code
    return code, capfd.readouterr().err.splitlines()


@pytest.mark.parametrize('name', NETWORKS)
def test_the_folder_holds_the_network_and_nothing_else(name, published, runs):
    folder = published / name
    (pickled,) = folder.glob('model-*.pth')
    assert {path.name for path in folder.iterdir()} == {
        *('README.md', 'config.json', 'config.py', 'model.safetensors', pickled.name),
    }
    assert pickled.stem == f'model-{hashlib.sha256(pickled.read_bytes()).hexdigest()[:8]}'
    content = torch.load(pickled, weights_only=True)
    assert set(content) == {'state_dict', 'meta'} and set(content['meta']) == {'dataset_meta'}
    trained = load_checkpoint_file(str(runs / name / 'iter_2.pth'))['state_dict']
    expected = {key: value for key, value in trained.items() if key.startswith(('backbone.', 'decode_head.'))}
    assert any(key.startswith('adaptations.') for key in trained)
    for state in (content['state_dict'], load_file(folder / 'model.safetensors')):
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], value) for key, value in expected.items())
    parameters = sum(value.numel() for value in expected.values())
    for file in (pickled, folder / 'model.safetensors'):
        assert file.stat().st_size <= 4 * parameters + 64 * 1024
    for file in folder.iterdir():
        for path in (str(runs), str(ROOT), os.path.expanduser('~'), 'data/worlds'):
            assert path.encode() not in file.read_bytes(), (file, path)


@pytest.mark.parametrize('name', NETWORKS)
def test_config_and_card_say_what_it_is(name, published, runs):
    folder = published / name
    config = Config.fromfile(folder / 'config.py', import_custom_modules=False)
    assert config.model.type == 'EncoderDecoder' and config.test_pipeline[0].type == 'LoadImageFromFile'
    ours = ['cda_mmseg.models.backbones.vgg', 'cda_mmseg.models.decode_heads.fcn8s_head']
    assert config.get('custom_imports', {}).get('imports', []) == (ours if name == 'fcn8s' else [])
    data = DATASETS.build(dict(config.test_dataloader.dataset, lazy_init=True))
    classes = CityscapesDataset.METAINFO['classes']
    assert tuple(data.metainfo['classes']) == classes and data.metainfo['label_ids'][:2] == [7, 8]
    described = json.loads((folder / 'config.json').read_text())
    assert described == dict(
        id2label={str(index): label for index, label in enumerate(classes)},
        palette=CityscapesDataset.METAINFO['palette'],
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        channel_order='RGB',
    )
    card = (folder / 'README.md').read_text()
    (scalars,) = (runs / name).glob('*/vis_data/scalars.json')
    scores = json.loads(scalars.read_text().splitlines()[-1])
    for domain, label in (('target', 'target'), ('source', 'source (seen in training)')):
        assert f'| {label} | {scores[f"{domain}/images"]:.0f} | {scores[f"{domain}/mIoU"]:.2f} |' in card
    for line in ('GTAVDataset', 'CityscapesDataset', 'iterations | 2', 'seed | 0', 'target labels had no part in it'):
        assert line in card
    assert ('and `cda_mmseg`' in card) == (name == 'fcn8s')


def test_the_card_names_an_oracle(runs):
    (best,) = (runs / 'fcn8s').glob('best_*.pth')
    config = read_config(SMOKE)
    plain = plain_config(config, CityscapesDataset.METAINFO)
    card = model_card(load_checkpoint_file(str(best)), str(best), config, plain, 1, 'model.pth')
    assert 'by target labels: an oracle' in card and '| target | 4 |' in card


def test_mmsegs_inferencer_takes_it_where_this_package_is_not(published, runs, tmp_path):
    picture = next((ROOT / 'docs').rglob('panel.png'))
    (weights,) = (published / 'segformer').glob('model-*.pth')
    code = (
        'import sys, numpy; sys.modules["cda_mmseg"] = None\n'
        'from mmseg.apis import MMSegInferencer\n'
        'config, weights, picture, out = sys.argv[1:]\n'
        'inferencer = MMSegInferencer(config, weights, device="cpu")\n'
        'numpy.save(out, inferencer(picture)["predictions"])'
    )
    arguments = [published / 'segformer' / 'config.py', weights, picture, tmp_path / 'ids.npy']
    subprocess.run([sys.executable, '-c', code, *map(str, arguments)], check=True, capture_output=True)
    config = read_config(SMOKE_FOLDER / 'cl_gta2city_segformer_b0.py')
    model = publish.init_trained_model(config, str(runs / 'segformer' / 'iter_2.pth'))
    expected = publish.inference_ids(model, config, str(picture))
    assert (torch.from_numpy(__import__('numpy').load(tmp_path / 'ids.npy')) == expected).all()
