"""Reading checkpoints: what is refused, and that nothing refused has run."""

import bz2
import functools
import gzip
import http.server
import io
import json
import lzma
import os
import pickle
import re
import tarfile
import threading
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader
from mmengine.runner import load_checkpoint as mmengine_load_checkpoint
from mmengine.runner.checkpoint import load_from_local
from mmseg.apis import MMSegInferencer
from toy_training import finish, name_loader, start

from cda_mmseg.utils.loading.errors import CheckpointError, UnreadableCheckpointError, UntrustedCheckpointError
from cda_mmseg.utils.loading.safe_loading import install_safe_loader, load_checkpoint_file


class Shell:
    """Run a shell command when unpickled by a reader that allows it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


class Call:
    """Call anything importable when unpickled by a reader that allows it."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(OrderedDict(weight=torch.arange(3000.0).reshape(3, 1000)), path)
    return path


@pytest.fixture
def marker(tmp_path):
    return tmp_path / 'the_code_has_run'


def message_hub():
    hub = MessageHub('safe_loading')
    for value in (3.0, 1.0, 2.0):
        hub.update_scalar('train/loss', value)
    hub.update_info('best_score', np.float64(0.25))
    hub.update_info('flag', np.bool_(True))
    hub.update_info('counts', np.arange(4, dtype=np.int64))
    hub.update_info('palette', np.array([[1, 2, 3]], dtype=np.uint8))
    hub.update_info('share', np.float32(0.5))
    return hub


def test_reads_a_plain_state_dict(weights):
    assert torch.equal(load_checkpoint_file(str(weights))['weight'], torch.arange(3000.0).reshape(3, 1000))


def test_reads_everything_that_mmengine_puts_into_a_checkpoint(tmp_path):
    path = str(tmp_path / 'mmengine.pth')
    torch.save(dict(meta=dict(iter=3), message_hub=message_hub().state_dict()), path)
    checkpoint = load_checkpoint_file(path)

    history = checkpoint['message_hub']['log_scalars']['train/loss']
    assert type(history) is HistoryBuffer
    assert (history.mean(), history.min(), history.max(), history.current()) == (2.0, 1.0, 3.0, 2.0)
    history.update(6.0)
    assert history.mean(2) == 4.0
    info = checkpoint['message_hub']['runtime_info']
    assert info['best_score'] == 0.25
    assert info['flag'] == np.True_
    assert info['share'] == np.float32(0.5)
    assert info['counts'].tolist() == [0, 1, 2, 3]
    assert info['palette'].dtype == np.uint8

    # what was read must be writable and readable again, by the stock reader too
    again = str(tmp_path / 'again.pth')
    torch.save(checkpoint, again)
    assert load_checkpoint_file(again)['message_hub']['log_scalars']['train/loss'].mean(2) == 4.0
    assert torch.load(again, weights_only=False)['message_hub']['log_scalars']['train/loss'].mean(2) == 4.0


def weighted_mean(history, weight):
    """Serve as a user's registered statistic."""
    return history.mean() * weight


def test_a_registered_statistic_neither_blocks_reading_nor_can_be_called(tmp_path):
    path, caller = str(tmp_path / 'statistic.pth'), str(tmp_path / 'caller.pth')
    former = HistoryBuffer._statistics_methods.copy()
    HistoryBuffer.register_statistics(weighted_mean)
    try:
        torch.save(dict(history=HistoryBuffer([1.0, 3.0], [1, 1])), path)
        history = load_checkpoint_file(path)['history']
        assert history.statistics('weighted_mean', 2) == 4.0
        torch.save(dict(a=Call(weighted_mean, 1, 2)), caller)
        with pytest.raises(UntrustedCheckpointError, match='registered statistic'):
            load_checkpoint_file(caller)
    finally:
        HistoryBuffer._statistics_methods.clear()
        HistoryBuffer._statistics_methods.update(former)


def test_a_file_cannot_replace_the_statistics_of_the_process(tmp_path):
    path = str(tmp_path / 'statistics.pth')
    history = HistoryBuffer([1.0], [1])
    former = dict(HistoryBuffer._statistics_methods)
    HistoryBuffer._statistics_methods['mean'] = np.dtype
    torch.save(dict(history=history), path)
    HistoryBuffer._statistics_methods.update(former)
    load_checkpoint_file(path)
    assert HistoryBuffer._statistics_methods == former


@pytest.mark.parametrize('zip_format', [True, False])
def test_refuses_code_and_runs_none_of_it(tmp_path, marker, zip_format):
    path = str(tmp_path / 'evil.pth')
    content = dict(state_dict=OrderedDict(weight=torch.zeros(2)), meta=Shell(marker))
    torch.save(content, path, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(UntrustedCheckpointError, match=r'evil\.pth.*system.*--trust-checkpoint'):
        load_checkpoint_file(path)
    assert not marker.exists()

    # the same file does run where its user says so, which proves that it could have
    assert load_checkpoint_file(path, trusted=True)['meta'] == 0
    assert marker.exists()


def contained(content: bytes) -> dict[str, bytes]:
    """Put a pickle into every container that a reader of weights may meet."""
    packed, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('model/weights.pkl', content)
    with tarfile.open(fileobj=tarred, mode='w:gz') as archive:
        entry = tarfile.TarInfo('pickle')
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return {
        'bare': content,
        'behind others': pickle.dumps(1) + pickle.dumps([2]) + content,
        'zip': packed.getvalue(),
        'tar': tarred.getvalue(),
        'gzip': gzip.compress(content),
        'bzip2': bz2.compress(content),
        'xz': lzma.compress(content),
        'zip in gzip': gzip.compress(packed.getvalue()),
    }


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('container', list(contained(pickle.dumps(1))))
def test_code_is_called_code_whatever_protocol_and_container(tmp_path, marker, protocol, container):
    path = tmp_path / 'weights.pkl'
    # the name is made of words that the pickle has used before
    content = pickle.dumps(['posix', 'system', Shell(marker)], protocol=protocol)
    path.write_bytes(contained(content)[container])
    with pytest.raises(UntrustedCheckpointError, match=r'carries executable pickle \(posix\.system\)'):
        load_checkpoint_file(str(path))
    assert not marker.exists()


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('zip_format', [True, False])
def test_code_is_called_code_in_torchs_own_formats(tmp_path, marker, protocol, zip_format):
    path, plain = str(tmp_path / 'evil.pth'), str(tmp_path / 'plain.pth')
    settings = dict(pickle_protocol=protocol, _use_new_zipfile_serialization=zip_format)
    torch.save(dict(weight=torch.zeros(2), meta=Shell(marker)), path, **settings)
    with pytest.raises(UntrustedCheckpointError, match=r'posix\.system'):
        load_checkpoint_file(path)
    assert not marker.exists()
    # and weights without code are never called so
    torch.save(OrderedDict(weight=torch.zeros(2)), plain, **settings)
    if protocol in (2, 3):
        assert list(load_checkpoint_file(plain)) == ['weight']
    else:
        with pytest.raises(UnreadableCheckpointError, match=r"another protocol than torch\.save's"):
            load_checkpoint_file(plain)


@pytest.mark.parametrize('save', [np.save, np.savez], ids=['npy', 'npz'])
def test_code_in_an_object_array_is_called_code(tmp_path, marker, save):
    path = tmp_path / ('weights.npy' if save is np.save else 'weights.npz')
    save(path, np.array([Shell(marker)], dtype=object))
    with pytest.raises(UntrustedCheckpointError, match=r'posix\.system'):
        load_checkpoint_file(str(path))
    save(path, np.zeros(3))
    with pytest.raises(UnreadableCheckpointError):
        load_checkpoint_file(str(path))
    assert not marker.exists()


def test_a_compiled_program_is_called_one(tmp_path):
    path = str(tmp_path / 'script.pt')
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    with pytest.raises(UntrustedCheckpointError, match='TorchScript'):
        load_checkpoint_file(path)


@pytest.mark.usefixtures('stock_readers')
def test_configs_in_a_checkpoint_are_not_run(tmp_path, marker):
    """mmengine's inferencer takes them when it is given no config; its Runner.resume is in tests/test_safety.py."""
    program = f'import os\nos.system("touch {marker}")\n'
    hub = message_hub()
    hub.update_info('cfg', program)
    contents = {
        'hub.pth': dict(meta=dict(iter=3), message_hub=hub.state_dict()),
        'meta.pth': dict(meta=dict(iter=3, cfg=program)),
        'old.pth': dict(meta=dict(iter=3, config=program)),
    }
    for name, content in contents.items():
        path = str(tmp_path / name)
        torch.save(dict(content, state_dict={}), path)
        install_safe_loader()
        read = CheckpointLoader.load_checkpoint(path, 'cpu')
        assert read['meta'] == dict(iter=3) and 'import os' not in str(read)
        with pytest.raises((KeyError, ValueError, AttributeError)):
            MMSegInferencer(None, path, device='cpu')
        assert not marker.exists()
        # our own readers still see what was written, as text
        assert 'import os' in str(load_checkpoint_file(path))

        install_safe_loader(trusted=True)
        assert 'import os' in str(CheckpointLoader.load_checkpoint(path, 'cpu'))
        if name != 'old.pth':
            with pytest.raises(AttributeError):
                # it has run, and there is no model in it
                MMSegInferencer(None, path, device='cpu')
            assert marker.exists()
            marker.unlink()


def test_the_stock_loader_runs_what_ours_refuses(tmp_path, marker):
    path = str(tmp_path / 'evil.pth')
    torch.save(dict(meta=Shell(marker)), path)
    try:
        load_from_local(path, 'cpu')
    except pickle.UnpicklingError:
        pytest.skip('this MMEngine has no fallback')
    assert marker.exists()


@pytest.mark.parametrize(
    'attack',
    [
        Call(getattr, HistoryBuffer, '__init__'),
        Call(getattr, HistoryBuffer, '_statistics_methods'),
        Call(getattr, np.ndarray, 'tofile'),
        Call(getattr, torch.Tensor, '__class__'),
        Call(eval, '1 + 1'),
        Call(np.save, 'file.npy', 1),
        np.array([Call(eval, '1')], dtype=object),
        torch.nn.Linear(2, 2),
    ],
    ids=lambda attack: repr(getattr(attack, 'arguments', type(attack).__name__)),
)
def test_the_allow_list_has_no_free_getattr(tmp_path, attack):
    path = str(tmp_path / 'attack.pth')
    torch.save(dict(a=attack), path)
    with pytest.raises(UntrustedCheckpointError, match=r'attack\.pth carries executable pickle'):
        load_checkpoint_file(path)


def test_what_other_code_declared_safe_is_not_safe_here(tmp_path):
    path = str(tmp_path / 'getattr.pth')
    torch.save(dict(a=Call(getattr, np.ndarray, 'tofile')), path)
    with torch.serialization.safe_globals([getattr, np.ndarray]):
        assert torch.load(path, weights_only=True)['a'] is np.ndarray.tofile
        with pytest.raises(UntrustedCheckpointError):
            load_checkpoint_file(path)
        # and afterwards the others have their list back
        assert torch.load(path, weights_only=True)['a'] is np.ndarray.tofile


@pytest.mark.parametrize('variable', ['0', '1'])
def test_no_environment_variable_switches_the_refusal_off(tmp_path, marker, monkeypatch, variable):
    path = str(tmp_path / 'evil.pth')
    torch.save(dict(meta=Shell(marker)), path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', variable)
    with pytest.raises(UntrustedCheckpointError):
        load_checkpoint_file(path)
    assert not marker.exists()


def foreign_files(weights):
    """Make one file of each kind that users hand over by mistake."""
    content = weights.read_bytes()
    with tarfile.open(weights.parent / 'archive.tar', 'w') as archive:
        archive.add(weights)
    torch.save([1, 2], weights.parent / 'list.pth')
    return {
        'empty': b'',
        'truncated to a half': content[: len(content) // 2],
        'truncated by a byte': content[:-1],
        'header only': content[:4],
        'text': b'This is not a checkpoint.\n' * 20,
        'picture': b'\x89PNG\r\n\x1a\n' + bytes(100),
        'web page': b'<!DOCTYPE html><html><body>Not found</body></html>',
        'tar': (weights.parent / 'archive.tar').read_bytes(),
        'list': (weights.parent / 'list.pth').read_bytes(),
    }


KINDS = ['empty', 'truncated to a half', 'truncated by a byte', 'header only', 'text', 'picture', 'web page']


@pytest.mark.parametrize('kind', [*KINDS, 'tar', 'list'])
def test_names_the_file_that_is_no_checkpoint(weights, kind):
    path = weights.parent / 'given.pth'
    path.write_bytes(foreign_files(weights)[kind])
    with pytest.raises(UnreadableCheckpointError, match=r'given\.pth') as caught:
        load_checkpoint_file(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_names_the_file_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'missing\.pth'):
        load_checkpoint_file(str(tmp_path / 'missing.pth'))
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        load_checkpoint_file(str(tmp_path))


class Site:
    """Serve a folder on a local port and count the requests."""

    def __init__(self, folder):
        self.requests = requests = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                super().do_GET()

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=folder))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f'http://127.0.0.1:{self.server.server_port}'

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch_home'))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / 'site'
    folder.mkdir()
    site = Site(str(folder))
    site.folder = folder
    yield site
    site.close()


def test_fetches_an_address_once_and_reads_it_safely(site, marker):
    torch.save(dict(weight=torch.ones(2)), site.folder / 'good.pth')
    torch.save(dict(weight=Shell(marker)), site.folder / 'evil.pth')
    for _ in range(2):
        assert torch.equal(load_checkpoint_file(f'{site.address}/good.pth')['weight'], torch.ones(2))
    assert site.requests == ['/good.pth']
    with pytest.raises(UntrustedCheckpointError, match=r'evil\.pth'):
        load_checkpoint_file(f'{site.address}/evil.pth')
    assert not marker.exists()


@pytest.mark.parametrize('broken', ['missing file', 'no server', 'no name'])
def test_says_where_to_put_what_cannot_be_fetched(site, tmp_path, broken):
    address = f'{site.address}/absent.pth'
    if broken == 'no server':
        address = 'http://127.0.0.1:9/absent.pth'
    if broken == 'no name':
        with pytest.raises(CheckpointError, match='names no file'):
            load_checkpoint_file(f'{site.address}/')
        return
    place = str(tmp_path / 'torch_home' / 'hub' / 'checkpoints' / 'absent.pth')
    with pytest.raises(CheckpointError, match='Cannot fetch') as caught:
        load_checkpoint_file(address)
    assert address in str(caught.value)
    assert place in str(caught.value)
    assert not os.path.exists(place)


def test_importing_leaves_the_hosts_loader_alone(tmp_path):
    assert finish(start(tmp_path, task=name_loader)) == 0
    assert (tmp_path / 'loader').read_text() == 'mmengine.runner.checkpoint.load_from_local'


@pytest.mark.usefixtures('stock_readers')
def test_mmengine_reads_through_the_safe_loader_once_installed(tmp_path, weights, marker):
    evil = str(tmp_path / 'evil.pth')
    torch.save(dict(weight=Shell(marker)), evil)
    model = torch.nn.Linear(1000, 3, bias=False)

    install_safe_loader()
    mmengine_load_checkpoint(model, str(weights))
    assert torch.equal(model.weight, torch.arange(3000.0).reshape(3, 1000))
    with pytest.raises(UntrustedCheckpointError):
        mmengine_load_checkpoint(model, evil)
    assert not marker.exists()

    install_safe_loader(trusted=True)
    CheckpointLoader.load_checkpoint(evil)
    assert marker.exists()


@pytest.mark.usefixtures('stock_readers')
def test_every_scheme_of_mmengine_is_covered(tmp_path, monkeypatch, site, marker):
    stock = set(CheckpointLoader._schemes)
    loaders = dict(CheckpointLoader._schemes)
    install_safe_loader()
    assert set(CheckpointLoader._schemes) == stock
    assert not set(CheckpointLoader._schemes.values()) & set(loaders.values())
    for name in ('s3://bucket/a.pth', 'pavi://a', 'petrel://a', 'cluster:s3://a', 'mmcls://vgg16'):
        with pytest.raises(CheckpointError, match='give the path of the local file'):
            CheckpointLoader.load_checkpoint(name)

    # a name of the model zoo leads to an address, whose file is read as safely
    torch.save(dict(weight=Shell(marker)), site.folder / 'resnet.pth')
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    (tmp_path / 'open_mmlab.json').write_text(json.dumps(dict(resnet=f'{site.address}/resnet.pth')))
    with pytest.raises(UntrustedCheckpointError, match=r'resnet\.pth'):
        CheckpointLoader.load_checkpoint('open-mmlab://resnet')
    with pytest.raises(CheckpointError, match='open-mmlab://vgg99 is not a published model'):
        CheckpointLoader.load_checkpoint('open-mmlab://vgg99')
    assert not marker.exists()


@pytest.mark.usefixtures('stock_readers')
def test_files_that_pip_installed_are_found_by_distribution(tmp_path, monkeypatch):
    site = tmp_path / 'site'
    (site / 'net').mkdir(parents=True)
    (site / 'net_weights-1.2.dist-info').mkdir()
    (site / 'net_weights-1.2.dist-info' / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: net-weights\nVersion: 1.2\n'
    )
    torch.save(dict(weight=torch.ones(3)), site / 'net' / 'net.pth')
    address = 'pip://net-weights/net/net.pth'
    with pytest.raises(
        CheckpointError, match=r'package net-weights is not installed\. .pip install net-weights. installs it'
    ):
        load_checkpoint_file(address)
    monkeypatch.syspath_prepend(str(site))
    assert torch.equal(load_checkpoint_file(address)['weight'], torch.ones(3))
    install_safe_loader()
    assert torch.equal(CheckpointLoader.load_checkpoint(address)['weight'], torch.ones(3))
    with pytest.raises(CheckpointError, match=r'net-weights 1\.2 has no file .*other\.pth.*--force-reinstall'):
        load_checkpoint_file('pip://net-weights/net/other.pth')
    with pytest.raises(CheckpointError, match='names no file'):
        load_checkpoint_file('pip://net-weights')
