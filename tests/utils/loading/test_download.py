"""Published weights are compared with the hash in their name."""

import functools
import hashlib
import http.server
import threading

import pytest

from cda_mmseg.utils.loading import CheckpointError
from cda_mmseg.utils.loading.download import download_checkpoint

CONTENT = b'weights'
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Serve a folder on a local port."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch_home'))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / 'site'
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.mark.parametrize('name', [f'vgg16-{HASH[:8]}.pth', f'net_20200604_192608-{HASH[:12]}.pth', f'net-{HASH}.pth'])
def test_a_file_that_is_not_what_its_name_says_is_refused(site, tmp_path, name):
    folder, address = site
    (folder / name).write_bytes(CONTENT[:-1] + b'z')
    with pytest.raises(CheckpointError, match=f'Cannot fetch {address}/{name} .*{HASH[:8]}'):
        download_checkpoint(f'{address}/{name}')
    assert not list((tmp_path / 'torch_home').rglob('*.pth'))
    (folder / name).write_bytes(CONTENT)
    with open(download_checkpoint(f'{address}/{name}'), 'rb') as file:
        assert file.read() == CONTENT


@pytest.mark.parametrize('name', ['net.pth', 'resnet-101.pth', 'net-20200604.pth', 'net-deadbeefs.pth', 'deadbeef.pth'])
def test_names_without_a_hash_are_not_compared(site, name):
    folder, address = site
    (folder / name).write_bytes(CONTENT)
    assert download_checkpoint(f'{address}/{name}').endswith(name)
