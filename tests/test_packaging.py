import email
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from mmengine.infer import BaseInferencer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cda_mmseg.environment import ONEDL
from cda_mmseg.version import __version__

REPOSITORY = Path(__file__).resolve().parents[1]
REQUIREMENTS = REPOSITORY / 'requirements'
OF_ITS_OWN = ('backbones',)  # extras with a lock of their own, which `make` does not install
EXTRAS = ('cluster', 'efficientnet', 'onnx', 'publish', 'superpixels', 'tsne', 'test', 'lint')
UNLOCKED = ('tensorboard',)
SOURCES = ('LICENSE', 'MANIFEST.in', 'README.md', 'CHANGELOG.md', 'pyproject.toml', 'setup.py', 'model-index.yml')
FOLDERS = ('cda_mmseg', 'configs', 'requirements', 'tools')


def read_requirements(name):
    lines = (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith('#')]


@pytest.fixture(scope='module')
def pins():
    """Distribution to the version in locked.txt."""
    return read_pins('locked')


def read_pins(name):
    pinned = {}
    for requirement in read_requirements(name):
        [specifier] = requirement.specifier
        assert specifier.operator == '=='
        pinned[canonicalize_name(requirement.name)] = specifier.version
    return pinned


def test_locked_versions_are_complete_and_agree_with_each_other(pins):
    asked_for = {
        canonicalize_name(requirement.name) for name in ('runtime', *EXTRAS) for requirement in read_requirements(name)
    }
    for name, version in pins.items():
        installed = distribution(name)
        assert installed.version.partition('+')[0] == version, f'{name}: not the environment that make installs'
        for requirement in map(Requirement, installed.requires or ()):
            needed = canonicalize_name(requirement.name)
            if requirement.marker is not None and not requirement.marker.evaluate({'extra': ''}):
                continue
            if needed == 'opencv-python':
                needed = 'opencv-python-headless'
            if name == 'torch' and needed not in pins:
                # The CUDA build pins what it alone needs; make installs torch with its dependencies.
                continue
            assert requirement.specifier.contains(pins[needed]), f'{name} needs {requirement}'
            asked_for.add(needed)
    assert set(pins) == asked_for


def test_locked_versions_lie_within_the_bounds(pins):
    for name in ('runtime', *EXTRAS):
        for requirement in read_requirements(name):
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize('name', OF_ITS_OWN)
def test_the_lock_of_an_extra_adds_to_the_locked_versions(name, pins):
    added = read_pins(f'locked_{name}')
    assert not pins.keys() & added.keys()
    asked_for = {canonicalize_name(requirement.name) for requirement in read_requirements(name)}
    for requirement in read_requirements(name):
        assert requirement.specifier.contains(added[canonicalize_name(requirement.name)]), requirement
    for package, version in added.items():
        try:
            installed = distribution(package)
        except PackageNotFoundError:
            pytest.skip(f'needs requirements/locked_{name}.txt')
        assert installed.version == version
        for requirement in map(Requirement, installed.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({'extra': ''}):
                needed = canonicalize_name(requirement.name)
                assert requirement.specifier.contains({**pins, **added}[needed]), f'{package} needs {requirement}'
                asked_for.add(needed)
    assert added.keys() <= asked_for


def test_repair_installs_the_locked_versions(pins):
    tested = [Requirement(requirement) for requirement in ONEDL.tested.values()]
    assert {requirement.name: str(requirement.specifier) for requirement in tested} == {
        requirement.name: f'=={pins[requirement.name]}' for requirement in tested
    }


@pytest.fixture
def copy(tmp_path):
    """Copy of what a build reads, with what earlier builds may have left in it."""
    folder = tmp_path / 'copy with a space'
    folder.mkdir()
    for name in SOURCES:
        shutil.copy(REPOSITORY / name, folder)
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns('.mim'))
    for leftover in ('cda_mmseg/.mim/configs', 'build/lib/cda_mmseg/.mim/configs'):
        (folder / leftover).mkdir(parents=True)
        (folder / leftover / 'deleted_since.py').touch()
    return folder


def build(copy, kind):
    """Build a distribution as pip does; return its path."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}('dist')"
    subprocess.run([sys.executable, '-c', code], cwd=copy, check=True)
    [built] = (copy / 'dist').iterdir()
    return built


def files_below(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts and '.mim' not in path.parts
    }


def test_wheel_holds_the_package_and_what_mim_looks_for(copy):
    with zipfile.ZipFile(build(copy, 'wheel')) as wheel:
        content = {name for name in wheel.namelist() if not name.startswith(f'cda_mmseg-{__version__}.dist-info/')}
        licence = wheel.read(f'cda_mmseg-{__version__}.dist-info/licenses/LICENSE')
        metadata = email.message_from_bytes(wheel.read(f'cda_mmseg-{__version__}.dist-info/METADATA'))
        train = wheel.read('cda_mmseg/.mim/tools/train.py')
    expected = {f'cda_mmseg/{name}' for name in files_below(REPOSITORY / 'cda_mmseg') if name.endswith('.py')}
    for folder in ('configs', 'tools'):
        expected |= {f'cda_mmseg/.mim/{folder}/{name}' for name in files_below(REPOSITORY / folder)}
    assert content == {*expected, 'cda_mmseg/.mim/model-index.yml'}
    assert train == (REPOSITORY / 'tools' / 'train.py').read_bytes()
    assert licence == (REPOSITORY / 'LICENSE').read_bytes()
    assert (metadata['Name'], metadata['Version']) == ('cda_mmseg', __version__)
    assert metadata['Requires-Python'] == '>=3.11'
    requirements = [Requirement(line) for line in metadata.get_all('Requires-Dist')]
    runtime = [requirement for requirement in requirements if requirement.marker is None]
    assert {requirement.name for requirement in runtime} == {
        'torch',
        'numpy',
        'onedl-mmengine',
        'onedl-mmcv',
        'onedl-mmsegmentation',
        'Jinja2',
    }
    for requirement in runtime:
        assert sorted(specifier.operator for specifier in requirement.specifier) == ['<', '>=']
    assert set(metadata.get_all('Provides-Extra')) == {*EXTRAS, *UNLOCKED, *OF_ITS_OWN}


def test_editable_install_links_what_mim_looks_for(copy):
    build(copy, 'editable')
    mim = copy / 'cda_mmseg' / '.mim'
    assert {path.name: path.resolve() for path in mim.iterdir()} == {
        name: copy / name for name in ('configs', 'tools', 'model-index.yml')
    }
    assert all(not path.readlink().is_absolute() for path in mim.iterdir())


def test_source_distribution_builds_the_same_wheel(copy, tmp_path):
    archive = build(copy, 'sdist')
    shutil.unpack_archive(archive, tmp_path, filter='data')
    [unpacked] = tmp_path.glob(f'cda_mmseg-{__version__}')
    with zipfile.ZipFile(build(unpacked, 'wheel')) as wheel:
        from_archive = set(wheel.namelist())
    shutil.rmtree(copy / 'dist')
    with zipfile.ZipFile(build(copy, 'wheel')) as wheel:
        assert from_archive == set(wheel.namelist())


def test_the_index_names_every_leaf():
    """Read as mmengine's inferencers and mim read it."""
    models = list(BaseInferencer._get_models_from_metafile(str(REPOSITORY)))
    assert {model['Name']: model['Config'] for model in models} == {
        path.stem: f'configs/{path.name}' for path in (REPOSITORY / 'configs').glob('*.py')
    }


@pytest.mark.campaign
def test_a_run_of_ones_own_from_a_wheel_without_a_clone(copy, smoke_worlds, tmp_path):
    """As the README says, with an unpacked wheel in the place of an installed one."""
    site, own = tmp_path / 'site', tmp_path / 'own'
    shutil.unpack_archive(build(copy, 'wheel'), site, 'zip')
    own.mkdir()
    (own / 'data').symlink_to(smoke_worlds / 'data')

    def run(*command):
        outside = {**os.environ, 'PYTHONPATH': str(site)}
        return subprocess.run(command, cwd=own, env=outside, check=True, stdout=subprocess.PIPE, text=True).stdout

    shell = re.search(r'^(MIM=.*\n.*)$', (REPOSITORY / 'README.md').read_text(), re.M)[1]
    run('bash', '-ec', shell.replace('python', shlex.quote(sys.executable), 1))
    assert (own / 'configs').resolve() == site / 'cda_mmseg' / '.mim' / 'configs'
    (own / 'mine.py').write_text(
        "_base_ = 'configs/smoke/cl_gta2city.py'\n"
        'source_loss = dict(main=dict(loss_weight=2.0))\n'
        'train_cfg = dict(max_iters=2, val_interval=2)\n'
    )
    assert 'target/mIoU' in run(sys.executable, 'tools/train.py', 'mine.py')
    image = next((smoke_worlds / 'data').rglob('*_leftImg8bit.png'))
    printed = run(
        sys.executable,
        '-c',
        'from mmseg.apis import MMSegInferencer; import cda_mmseg.registration; print(cda_mmseg.__file__)\n'
        "inferencer = MMSegInferencer('mine.py', 'work_dirs/mine/iter_2.pth', device='cpu')\n"
        f"print(inferencer('{image}')['predictions'].shape)",
    )
    assert str(site) in printed and '(32, 64)' in printed


@pytest.mark.campaign
def test_installed_wheel_trains_in_a_clean_environment(copy, smoke_worlds, tmp_path):
    venv.create(tmp_path / 'venv', with_pip=True)
    python = tmp_path / 'venv' / 'bin' / 'python'
    outside = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}

    def run(*command):
        # The worlds' folder has no cda_mmseg in it: what is imported is what was installed.
        return subprocess.run(
            [str(python), *command], cwd=smoke_worlds, env=outside, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    run('-m', 'pip', 'install', '--constraint', str(REQUIREMENTS / 'locked.txt'), str(build(copy, 'wheel')))
    run('-m', 'pip', 'check')
    # As the README says for machines without libGL, which this one may be.
    headless = next(str(requirement) for requirement in read_requirements('locked') if 'headless' in requirement.name)
    run('-m', 'pip', 'uninstall', '-y', 'opencv-python')
    run('-m', 'pip', 'install', headless)

    [mim] = (tmp_path / 'venv').glob('lib/python*/site-packages/cda_mmseg/.mim')
    work_dir = tmp_path / 'run'
    printed = run(
        str(mim / 'tools' / 'train.py'),
        str(mim / 'configs' / 'smoke' / 'cl_gta2city.py'),
        f'--work-dir={work_dir}',
        '--cfg-options',
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
    )
    assert 'target/mIoU' in printed
    checkpoint = work_dir / 'iter_2.pth'
    assert checkpoint.is_file()
    printed = run(
        str(mim / 'tools' / 'test.py'),
        str(mim / 'configs' / 'smoke' / 'cl_gta2city.py'),
        str(checkpoint),
        f'--work-dir={tmp_path / "scores"}',
    )
    assert 'target/mIoU' in printed
