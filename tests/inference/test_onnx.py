"""ONNX models of networks, run by onnxruntime."""

import json
import os
import runpy
import signal
import sys

import cv2
import numpy as np
import pytest
import torch
from mmseg.apis import init_model
from mmseg.datasets import CityscapesDataset

from cda_mmseg.engine import read_config
from cda_mmseg.inference import publish
from cda_mmseg.inference.published_network import read_published
from tests.tool_processes import ROOT, SMOKE

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

from cda_mmseg.inference import onnx_export  # noqa: E402  imports the extra


@pytest.fixture(scope='module')
def published(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp('published') / 'fcn8s'
    publish.publish(weights, str(folder), config_file=SMOKE, onnx=True)
    return folder


def predict(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, 'argv', ['predict.py', *map(str, arguments)])
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / 'tools' / 'predict.py'), run_name='__main__')
    return end.value.code


def test_it_takes_pictures_of_any_number_and_size_and_gives_their_classes(published, weights):
    session = onnxruntime.InferenceSession(published / 'model.onnx')
    (given,) = session.get_inputs()
    assert (
        given.type == 'tensor(uint8)' and given.shape[3] == 3 and not any(isinstance(n, int) for n in given.shape[:3])
    )
    model = init_model(read_config(SMOKE), weights, 'cpu')
    for size in ((5, 64, 96), (1, 99, 77)):
        pictures = np.random.randint(0, 256, (*size, 3), np.uint8)
        ids, scores = session.run(['class_ids', 'scores'], {'images': pictures})
        mean, std = (np.array(values, np.float32) for values in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
        inputs = torch.from_numpy((pictures - mean) / std).permute(0, 3, 1, 2)
        with torch.no_grad():
            expected = model.encode_decode(inputs, [dict(img_shape=size[1:])]).numpy()
        assert np.abs(scores - expected).max() <= 1e-3 * np.abs(expected).max()
        assert ids.dtype == np.uint8 and (ids == expected.argmax(1)).mean() >= 0.999
    about = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(about['classes'])) == CityscapesDataset.METAINFO['classes']
    assert json.loads(about['palette']) == CityscapesDataset.METAINFO['palette']
    assert os.path.expanduser('~') not in str(about) and weights not in str(about)


@pytest.mark.parametrize('batch', [1, 4])
def test_predict_writes_the_same_pngs_from_folder_and_onnx(batch, published, weights, folder, tmp_path, monkeypatch):
    kinds = ('train_id', 'label_id', 'color', 'overlay')
    common = ['--recursive', '--workers', 0, '--batch-size', batch, '--write', *kinds]
    networks = dict(
        run=['--config', SMOKE, '--checkpoint', weights, '--device', 'cpu'],
        folder=['--model', published, '--device', 'cpu'],
        onnx=['--model', published / 'model.onnx'],
    )
    written = {}
    for name, network in networks.items():
        assert predict(monkeypatch, folder, *network, '--out', tmp_path / name, *common) == 0
        paths = sorted((tmp_path / name).rglob('*.png'))
        written[name] = {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in paths}
    assert len(written['run']) == 80 and written['folder'] == written['run'] and written['onnx'] == written['run']


def test_tiles_of_an_onnx_model_are_those_of_the_network(published, tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / 'a.png'), np.random.randint(0, 256, (64, 128, 3), np.uint8))
    for name, network in (('folder', published), ('onnx', published / 'model.onnx')):
        arguments = ['--model', network, '--out', tmp_path / name, '--tile', 64, 64, '--write', 'train_id']
        assert predict(monkeypatch, tmp_path / 'a.png', *arguments) == 0
    ids = [cv2.imread(str(tmp_path / name / 'train_id' / 'a.png'), 0) for name in ('folder', 'onnx')]
    assert (ids[0] == ids[1]).mean() >= 0.999


def test_a_model_that_computes_something_else_is_refused(published):
    model, _ = read_published(str(published), 'cpu')
    other = onnx_export.PicturesToClasses(model, takes_rgb=False)
    with pytest.raises(onnx_export.ExportError, match='computes something else for pictures of'):
        onnx_export._compare(other, published / 'model.onnx')


def test_what_cannot_be_exported_leaves_nothing(weights, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError('no such operator\nand more')

    monkeypatch.setattr(torch.onnx, 'export', fail)
    monkeypatch.setattr(publish, '_check', lambda *arguments: None)
    with pytest.raises(onnx_export.ExportError, match=r'cannot write this network as ONNX \(no such operator\)'):
        publish.publish(weights, str(tmp_path / 'out'), config_file=SMOKE, onnx=True)
    assert list(tmp_path.iterdir()) == []


def without_metadata(path):
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)


BAD = {
    'half': (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), 'cannot be read as an ONNX'),
    'foreign': (without_metadata, 'does not say how to read pictures'),
    'gone': (lambda path: path.unlink(), 'There is no ONNX model'),
}


@pytest.mark.parametrize('bad', BAD)
def test_a_bad_model_is_one_line(bad, published, folder, tmp_path, monkeypatch, capfd):
    spoil, message = BAD[bad]
    path = tmp_path / 'model.onnx'
    path.write_bytes((published / 'model.onnx').read_bytes())
    spoil(path)
    assert predict(monkeypatch, folder, '--model', path, '--out', tmp_path / 'out') == 1
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1 and message in errors[0] and not (tmp_path / 'out').exists()


def test_ways_to_name_the_network_exclude_each_other(folder, tmp_path, monkeypatch, capfd):
    for ways in ([], ['--model', 'a', '--config', 'b'], ['--config', 'b'], ['--model', 'a.onnx', '--amp']):
        assert predict(monkeypatch, folder, '--out', tmp_path / 'out', *ways) == 2
