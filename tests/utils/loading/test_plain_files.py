"""Data files that a config names: none of them runs code, and plain ones are read as ever."""

import json
import os
import pickle

import mmengine
import numpy as np
import pytest
import yaml
from mmengine.dataset import BaseDataset
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmseg.datasets.transforms import LoadBiomedicalImageFromFile
from mmseg.registry import MODELS

from cda_mmseg.models.losses import ConservativeLoss
from cda_mmseg.utils.loading import UntrustedCheckpointError, install_safe_loader


class Shell:
    """Run a shell command when unpickled by a reader that allows it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / 'the_code_has_run'


@pytest.fixture
def evil(tmp_path, marker):
    """One file of each kind, with code in it."""
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps(Shell(marker)))
    (tmp_path / 'evil.pickle').write_bytes(pickle.dumps([1.0, Shell(marker)], protocol=0))
    for name in ('evil.yaml', 'evil.yml'):
        (tmp_path / name).write_text(f'!!python/object/apply:os.system ["touch {marker}"]\n')
    np.save(tmp_path / 'evil.npy', np.array([Shell(marker)], dtype=object), allow_pickle=True)
    return tmp_path


EVIL = ['evil.pkl', 'evil.pickle', 'evil.yaml', 'evil.yml', 'evil.npy']


@pytest.mark.usefixtures('stock_readers')
@pytest.mark.parametrize('name', EVIL)
@pytest.mark.parametrize(
    'loss',
    [
        *(dict(type=name) for name in ('CrossEntropyLoss', 'TverskyLoss', 'HuasdorffDisstanceLoss')),
        dict(type='LovaszLoss', reduction='none'),
    ],
    ids=lambda loss: loss['type'],
)
def test_class_weights_of_mmsegs_losses_run_no_code_under_our_tools(evil, marker, name, loss):
    settings = dict(loss, class_weight=str(evil / name))
    if name.endswith('.npy'):
        # never was a way
        with pytest.raises(ValueError, match='allow_pickle'):
            MODELS.build(settings)
        return
    install_safe_loader()
    with pytest.raises(UntrustedCheckpointError, match=r'carries code .*system'):
        MODELS.build(settings)
    assert not marker.exists()

    install_safe_loader(trusted=True)
    MODELS.build(settings)
    assert marker.exists()


@pytest.mark.parametrize('name', EVIL)
def test_class_weights_of_our_losses_never_run_code(evil, marker, name):
    """Whatever tool builds them, mmseg's own too."""
    former = dict(file_handlers)
    with pytest.raises(ValueError, match=f'ConservativeLoss: class_weight .*{name}'):
        ConservativeLoss(class_weight=str(evil / name))
    assert not marker.exists()
    assert file_handlers == former


@pytest.mark.usefixtures('stock_readers')
def test_annotations_run_no_code_under_our_tools(evil, marker):
    install_safe_loader()
    for name in EVIL[:4]:
        with pytest.raises(UntrustedCheckpointError, match='carries code'):
            BaseDataset(ann_file=str(evil / name), data_prefix=dict(img_path=''))
    assert not marker.exists()


@pytest.mark.usefixtures('stock_readers')
def test_medical_images_run_no_code_under_our_tools(evil, marker):
    install_safe_loader()
    transform = LoadBiomedicalImageFromFile(decode_backend='pickle')
    with pytest.raises(UntrustedCheckpointError, match='carries code'):
        transform(dict(img_path=str(evil / 'evil.pkl')))
    assert not marker.exists()

    image = np.arange(8.0, dtype=np.float32).reshape(1, 2, 2, 2)
    (evil / 'good.pkl').write_bytes(pickle.dumps(image))
    np.save(evil / 'good.npy', image)
    assert np.array_equal(transform(dict(img_path=str(evil / 'good.pkl')))['img'], image)
    unpickled = LoadBiomedicalImageFromFile(decode_backend='numpy')(dict(img_path=str(evil / 'good.npy')))
    assert np.array_equal(unpickled['img'], image)

    install_safe_loader(trusted=True)
    with pytest.raises(AttributeError):
        # it has run, and what it returns is no image
        transform(dict(img_path=str(evil / 'evil.pkl')))
    assert marker.exists()


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize(
    'weights',
    [[1, 2.5], (1, 2.5), np.array([1.0, 2.5]), np.array([1, 2.5], np.float16), [np.float32(1.0), np.float64(2.5)]],
    ids=repr,
)
def test_plain_pickles_are_read(tmp_path, weights, protocol):
    (tmp_path / 'weights.pkl').write_bytes(pickle.dumps(weights, protocol))
    assert ConservativeLoss(class_weight=str(tmp_path / 'weights.pkl')).class_weight.tolist() == [1.0, 2.5]


@pytest.mark.usefixtures('stock_readers')
def test_plain_texts_are_read(tmp_path):
    contents = {
        'weights.json': json.dumps([1, 2.5]),
        'weights.yaml': '- 1\n- 2.5\n',
        'dumped.yml': yaml.dump((1, 2.5)),
    }
    install_safe_loader()
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
        assert ConservativeLoss(class_weight=str(tmp_path / name)).class_weight.tolist() == [1.0, 2.5]
    # as mmengine writes configs
    assert mmengine.load(str(tmp_path / 'dumped.yml')) == (1, 2.5)


@pytest.mark.parametrize(
    'function',
    [eval, getattr, np.save, np.load, type, 'a b'.split, pickle.loads, mmengine.load],
    ids=lambda one: one.__qualname__,
)
def test_a_pickle_reaches_nothing_beyond_plain_data(tmp_path, function):
    class Call:
        def __reduce__(self):
            return function, ('1',)

    (tmp_path / 'weights.pkl').write_bytes(pickle.dumps(Call()))
    with pytest.raises(ValueError, match='carries code'):
        ConservativeLoss(class_weight=str(tmp_path / 'weights.pkl'))
