"""tools/publish_model.py, on checkpoints that real runs have saved."""

import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import inference_model, init_model
from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS
from safetensors.torch import load_file, save_file

from cda_mmseg.engine import read_config
from cda_mmseg.inference import check_published, publish
from cda_mmseg.inference.model_card import model_card
from cda_mmseg.inference.plain_network import plain_config
from cda_mmseg.utils.loading import load_checkpoint_file
from tests.tool_processes import ROOT, SMOKE

SMOKE_FOLDER = ROOT / 'configs' / 'smoke'
NETWORKS = ('fcn8s', 'segformer')


@pytest.fixture(scope='module')
def published(runs, tmp_path_factory):
    """The folder published of each run."""
    folder = tmp_path_factory.mktemp('published')
    for name in NETWORKS:
        publish.publish(str(runs / name / 'iter_2.pth'), str(folder / name))
    return folder


def run(monkeypatch, capfd, *arguments) -> tuple[int, list[str]]:
    """Run the tool inside this process; return its exit code and what it says on stderr."""
    capfd.readouterr()
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


@pytest.mark.parametrize(
    ('score', 'is_oracle'),
    [
        *((score, True) for score in ('target/mIoU16', 'target_night/mDice', 'target/IoU.road')),
        *((score, False) for score in ('target/entropy', 'target/share_distance', 'target/share.road', 'source/mIoU')),
    ],
)
def test_every_score_by_target_labels_makes_an_oracle(score, is_oracle):
    config = read_config(SMOKE)
    plain = plain_config(config, CityscapesDataset.METAINFO)
    name = f'best_{score}_iter_2.pth'.replace('/', '_')
    card = model_card({}, name, config, plain, 1, 'model.pth')
    assert ('by target labels: an oracle' in card) == is_oracle and 'of its run' in card


def test_the_card_says_that_the_scores_are_a_teachers(runs):
    path = str(runs / 'fcn8s' / 'iter_2.pth')
    config = read_config(SMOKE)
    plain = plain_config(config, CityscapesDataset.METAINFO)
    content = load_checkpoint_file(path)
    assert 'teacher' not in model_card(content, path, config, plain, 1, 'model.pth')
    config.custom_hooks = [dict(type='mmseg.TeacherEvaluationHook')]
    assert "The scores are the averaged teacher's" in model_card(content, path, config, plain, 1, 'model.pth')


def test_mmsegs_inferencer_takes_it_where_this_package_is_not(published, runs, tmp_path):
    picture = str(tmp_path / 'picture.png')
    cv2.imwrite(picture, np.random.randint(0, 256, (60, 120, 3), np.uint8))
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
    expected = inference_model(init_model(config, str(runs / 'segformer' / 'iter_2.pth'), 'cpu'), picture)
    assert np.array_equal(np.load(tmp_path / 'ids.npy'), expected.pred_sem_seg.data[0].numpy())


@pytest.fixture
def spoilable(published, tmp_path):
    """A copy of a published folder, and what its network predicts."""
    folder = tmp_path / 'folder'
    shutil.copytree(published / 'segformer', folder)
    picture = str(tmp_path / 'picture.png')
    cv2.imwrite(picture, np.random.randint(0, 256, (32, 64, 3), np.uint8))
    model = init_model(str(folder / 'config.py'), None, 'cpu')
    model.load_state_dict(load_file(folder / 'model.safetensors'))
    sample = inference_model(model, picture)
    torch.save({picture: (sample.seg_logits.data, sample.pred_sem_seg.data)}, tmp_path / 'expected.pt')
    return folder, tmp_path / 'expected.pt'


def change_weights(folder, change):
    """Change both files of weights alike."""
    (pickled,) = folder.glob('model-*.pth')
    content = torch.load(pickled, weights_only=True)
    change(content['state_dict'])
    torch.save(content, pickled)
    save_file(content['state_dict'], folder / 'model.safetensors')


def replace_in_config(folder, old, new):
    text = (folder / 'config.py').read_text()
    assert old in text
    (folder / 'config.py').write_text(text.replace(old, new))


SPOILT = {
    'missing': (lambda folder: change_weights(folder, lambda state: state.popitem()), 'Missing key'),
    'left over': (
        lambda folder: change_weights(folder, lambda state: state.update({'adaptations.x': torch.ones(1)})),
        'Unexpected key',
    ),
    'too large': (
        lambda folder: (folder / 'model.safetensors').write_bytes(
            (folder / 'model.safetensors').read_bytes() + bytes(2**20)
        ),
        'not fully covered',
    ),
    'pickle too large': (
        lambda folder: [torch.save({**torch.load(path), 'meta': 'x' * 2**20}, path) for path in folder.glob('*.pth')],
        'bytes, more than',
    ),
    'another normalisation': (lambda folder: replace_in_config(folder, '123.675', '123.6'), 'the scores of'),
    'another number of classes': (lambda folder: replace_in_config(folder, 'num_classes=19', 'num_classes=18'), 'size'),
    'optimizer': (
        lambda folder: [torch.save({**torch.load(path), 'optimizer': {}}, path) for path in folder.glob('*.pth')],
        'holds',
    ),
}


def test_a_sound_folder_passes_the_check(spoilable):
    check_published.check(*spoilable)


@pytest.mark.parametrize('fault', SPOILT)
def test_each_fault_fails_the_check(fault, spoilable):
    spoil, message = SPOILT[fault]
    spoil(spoilable[0])
    with pytest.raises(Exception, match=message):
        check_published.check(*spoilable)


def test_what_the_receiver_lacks_cannot_be_imported():
    blocker = check_published.Blocker(['json', 'cda_mmseg.engine'])
    for name in ('json', 'json.decoder', 'cda_mmseg.engine', 'cda_mmseg.engine.loops'):
        with pytest.raises(ModuleNotFoundError):
            blocker.find_spec(name)
    assert blocker.find_spec('jsonlines') is None and blocker.find_spec('cda_mmseg.models') is None


def test_a_failed_check_leaves_nothing(runs, tmp_path, monkeypatch, capfd):
    """The network is made of this package's parts, but the check is told that mmseg is enough."""
    monkeypatch.setattr(publish, 'modules_beyond_mmseg', lambda model: [])
    out = tmp_path / 'out'
    code, errors = run(monkeypatch, capfd, runs / 'fcn8s' / 'iter_2.pth', '--out', out)
    assert code == 1 and len(errors) == 1
    assert 'is not published' in errors[0] and 'cda_mmseg' in errors[0].partition('published: ')[2]
    assert list(tmp_path.iterdir()) == []


def test_paths_of_this_machine_are_refused(tmp_path):
    (tmp_path / 'config.py').write_text(f'a = {str(tmp_path)!r}')
    with pytest.raises(publish.PublishedFolderError, match=r'config\.py would name'):
        publish._check_paths(tmp_path, str(tmp_path / 'iter_2.pth'))


class Hostile:
    """Run a command when unpickled by a reader that allows it."""

    def __reduce__(self):
        return os.system, ('touch executed',)


def rewritten(path, change):
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path)


BAD = {
    'hostile pickle': (lambda path: torch.save(dict(state_dict=Hostile()), path), [], 'carries executable pickle'),
    'hostile config': (
        lambda path: rewritten(path, lambda content: content['meta'].update(cfg='import os')),
        [],
        'holds a config with more than plain values (import os)',
    ),
    'no meta': (lambda path: rewritten(path, lambda content: content.pop('meta')), [], 'name it with --config'),
    'half a file': (
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        [],
        'cannot be read as a checkpoint',
    ),
    'other network': (
        lambda path: None,
        ['--config', SMOKE_FOLDER / 'cl_gta2city_segformer_b0.py'],
        'backbone.layers.0.0.projection.weight is missing',
    ),
}


@pytest.mark.parametrize('bad', BAD)
def test_bad_input_is_one_line_and_leaves_nothing(bad, runs, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'iter_2.pth'
    shutil.copy(runs / 'fcn8s' / 'iter_2.pth', path)
    spoil, more, message = BAD[bad]
    spoil(path)
    code, errors = run(monkeypatch, capfd, path, '--out', tmp_path / 'out', *more)
    assert code == 1 and len(errors) == 1 and message in errors[0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_with_something_in_it_is_kept(runs, tmp_path, monkeypatch, capfd):
    (tmp_path / 'mine').write_text('')
    code, errors = run(monkeypatch, capfd, runs / 'fcn8s' / 'iter_2.pth', '--out', tmp_path)
    assert code == 1 and len(errors) == 1 and 'exists and is kept' in errors[0]
    assert [path.name for path in tmp_path.iterdir()] == ['mine']
