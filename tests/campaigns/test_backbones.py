"""The networks of docs/backbones.md: two steps with each, in processes of their own."""

import re
import subprocess
import sys
import venv
from importlib.util import find_spec
from sysconfig import get_path

import pytest

from tests.campaigns.backbone_trial import NETWORKS
from tests.campaigns.training import ROOT

DOCS = (ROOT / 'docs' / 'backbones.md').read_text()
LOCK = ROOT / 'requirements' / 'locked_backbones.txt'


@pytest.fixture(scope='module')
def python(tmp_path_factory) -> str:
    """An interpreter with transformers: this one, or that of an environment made for it upon this one."""
    if find_spec('transformers'):
        return sys.executable
    folder = tmp_path_factory.mktemp('transformers')
    venv.create(folder, with_pip=True)
    made = folder / 'bin' / 'python'
    [packages] = folder.glob('lib/python*/site-packages')
    (packages / 'tested.pth').write_text(get_path('purelib'))
    subprocess.run([made, '-m', 'pip', 'install', '--no-deps', '--requirement', LOCK], check=True)
    return str(made)


def test_the_table_has_every_network():
    rows = re.findall(r'^\| (.*?) \| (?:trains|refused)', DOCS, re.M)
    assert rows == list(NETWORKS)


@pytest.mark.campaign
def test_the_table_says_what_comes_of_each_network(python):
    command = [python, '-m', 'tests.campaigns.backbone_trial']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    made = re.search(r'^\| network .*\n(?:\|.*\n)+', done.stdout, re.M)[0]
    assert made in DOCS, made


@pytest.mark.campaign
def test_what_needs_transformers(python):
    """Skipped by `make test`, whose environment does not have it."""
    tests = ['tests/models/backbones/test_transformers_backbone.py', 'tests/test_configs.py', 'tests/test_packaging.py']
    chosen = 'transformers or dinov2 or lock_of_an_extra'
    command = [python, '-m', 'pytest', '-q', '-k', chosen, *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and 'skipped' not in done.stdout, done.stdout[-3000:]
