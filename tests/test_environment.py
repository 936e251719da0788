import os
import re
import shlex
import subprocess
import sys
import venv
import warnings
import zipfile
from pathlib import Path

import pip
import pytest
from mmengine.logging import print_log

from cda_mmseg.environment import ONEDL, OPENMMLAB, check_environment, find_providers, without_misleading_notices

REPOSITORY = Path(__file__).resolve().parents[1]
IMPORT_NAMES = {
    'onedl-mmengine': 'mmengine',
    'onedl-mmcv': 'mmcv',
    'onedl-mmsegmentation': 'mmseg',
    'mmengine': 'mmengine',
    'mmengine-lite': 'mmengine',
    'mmcv': 'mmcv',
    'mmcv-lite': 'mmcv',
    'mmcv-full': 'mmcv',
    'mmsegmentation': 'mmseg',
    'mmseg': 'mmseg',
    'acme-mmseg': 'mmseg',
}
ALL_ONEDL = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation')
ALL_OPENMMLAB = ('mmengine', 'mmcv', 'mmsegmentation')
PIP = f'{shlex.quote(sys.executable)} -m pip'
INSTALL_ONEDL = f'{PIP} install onedl-mmengine==0.10.12 onedl-mmcv==2.3.6 onedl-mmsegmentation==1.4.2'


def files_of(distribution, version='1.0'):
    """Return the files of a distribution whose package is empty: name in the archive to content."""
    package = IMPORT_NAMES[distribution]
    info = f'{distribution.replace("-", "_")}-{version}.dist-info'
    files = {
        f'{package}/__init__.py': '',
        f'{info}/METADATA': f'Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n',
        f'{info}/WHEEL': 'Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    }
    files[f'{info}/RECORD'] = ''.join(f'{name},,\n' for name in [*files, f'{info}/RECORD'])
    return files


def write_distributions(site, distributions):
    """Write distributions into a folder as pip leaves them there."""
    for distribution in distributions:
        for name, content in files_of(distribution).items():
            path = site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    site.mkdir(exist_ok=True)
    return site


def run_isolated(code, *sites):
    """Run Python code in a child that sees the standard library, these folders and this repository only."""
    paths = [str(path) for path in (*sites, REPOSITORY)]
    return subprocess.run(
        [sys.executable, '-I', '-S', '-c', f'import sys; sys.path += {paths!r}\n{code}'],
        capture_output=True,
        text=True,
        timeout=600,
    )


def import_error(*sites):
    """Import cda_mmseg in an isolated child; return the lines of the error it must end with."""
    child = run_isolated('import cda_mmseg', *sites)
    assert child.returncode == 1
    assert child.stderr.count('Traceback') == 1
    return child.stderr.partition('EnvironmentMixtureError: ')[2].splitlines()


CHECK = "import runpy; runpy.run_path(sys.path[-1] + '/cda_mmseg/environment.py')['check_environment'](); print('fine')"


@pytest.mark.parametrize(
    'distributions', [ALL_ONEDL, ALL_OPENMMLAB, ('mmengine-lite', 'mmcv', 'mmsegmentation')], ids='-'.join
)
def test_one_complete_family_is_accepted(tmp_path, distributions):
    child = run_isolated(CHECK, write_distributions(tmp_path / 'site', distributions))
    assert child.stdout == 'fine\n', child.stderr


def remove_and_install(remove, install):
    return f'{PIP} uninstall -y {remove} && {PIP} install {install}'


@pytest.mark.parametrize(
    ('distributions', 'findings', 'command'),
    [
        ((), ['mmengine: nothing installed', 'mmcv: nothing installed', 'mmseg: nothing installed'], INSTALL_ONEDL),
        (
            ALL_ONEDL + ALL_OPENMMLAB,
            [
                'mmengine: mmengine and onedl-mmengine (they overwrite each other)',
                'mmcv: mmcv and onedl-mmcv (they overwrite each other)',
                'mmseg: mmsegmentation and onedl-mmsegmentation (they overwrite each other)',
            ],
            f'{PIP} uninstall -y mmcv mmengine mmsegmentation onedl-mmcv onedl-mmengine onedl-mmsegmentation'
            f' && {INSTALL_ONEDL}',
        ),
        (
            ('onedl-mmengine', 'mmcv', 'onedl-mmsegmentation'),
            ['mmengine: onedl-mmengine', 'mmcv: mmcv', 'mmseg: onedl-mmsegmentation'],
            remove_and_install('mmcv', 'onedl-mmcv==2.3.6'),
        ),
        (
            ('mmengine', 'mmcv', 'onedl-mmsegmentation'),
            ['mmengine: mmengine', 'mmcv: mmcv', 'mmseg: onedl-mmsegmentation'],
            remove_and_install('mmcv mmengine', 'onedl-mmengine==0.10.12 onedl-mmcv==2.3.6'),
        ),
        (
            (*ALL_OPENMMLAB, 'onedl-mmengine'),
            [
                'mmengine: mmengine and onedl-mmengine (they overwrite each other)',
                'mmcv: mmcv',
                'mmseg: mmsegmentation',
            ],
            remove_and_install('mmengine onedl-mmengine', 'mmengine==0.10.7'),
        ),
        (
            ('onedl-mmengine', 'onedl-mmsegmentation'),
            ['mmengine: onedl-mmengine', 'mmcv: nothing installed', 'mmseg: onedl-mmsegmentation'],
            f'{PIP} install onedl-mmcv==2.3.6',
        ),
        (
            ('onedl-mmengine', 'onedl-mmcv', 'mmseg'),
            [
                'mmengine: onedl-mmengine',
                'mmcv: onedl-mmcv',
                'mmseg: mmseg (mmseg is a tokenizer that only shares the name)',
            ],
            remove_and_install('mmseg', 'onedl-mmsegmentation==1.4.2'),
        ),
        (
            (*ALL_OPENMMLAB, 'mmseg'),
            [
                'mmengine: mmengine',
                'mmcv: mmcv',
                'mmseg: mmseg and mmsegmentation (they overwrite each other; mmseg is a tokenizer that only shares the '
                'name)',
            ],
            remove_and_install('mmseg mmsegmentation', 'mmsegmentation==1.2.2'),
        ),
        (
            (*ALL_ONEDL, 'mmcv-full'),
            [
                'mmengine: onedl-mmengine',
                'mmcv: mmcv-full and onedl-mmcv (they overwrite each other; mmcv-full is mmcv 1.x)',
                'mmseg: onedl-mmsegmentation',
            ],
            remove_and_install('mmcv-full onedl-mmcv', 'onedl-mmcv==2.3.6'),
        ),
        (
            ('mmengine', 'mmcv-lite', 'mmsegmentation'),
            [
                'mmengine: mmengine',
                'mmcv: mmcv-lite (mmcv-lite is mmcv without the operators that mmsegmentation imports)',
                'mmseg: mmsegmentation',
            ],
            f'{PIP} uninstall -y mmcv-lite mmengine mmsegmentation && {INSTALL_ONEDL}',
        ),
        (
            ('onedl-mmengine', 'onedl-mmcv', 'acme-mmseg'),
            ['mmengine: onedl-mmengine', 'mmcv: onedl-mmcv', 'mmseg: acme-mmseg'],
            remove_and_install('acme-mmseg', 'onedl-mmsegmentation==1.4.2'),
        ),
    ],
    ids=lambda value: '-'.join(value) if isinstance(value, tuple) else '',
)
def test_anything_else_is_refused_with_the_repairing_command(tmp_path, distributions, findings, command):
    message = import_error(write_distributions(tmp_path / 'site', distributions))
    assert message[0].startswith('cda_mmseg needs mmengine, mmcv and mmseg from one family of packages')
    assert message[1:] == [*(f'  {finding}' for finding in findings), 'Repair it with', f'  {command}']


def test_files_that_are_gone_are_noticed(tmp_path):
    site = write_distributions(tmp_path / 'site', ALL_ONEDL)
    (site / 'mmcv' / '__init__.py').unlink()
    assert import_error(site)[1:] == [
        '  mmengine: onedl-mmengine',
        '  mmcv: onedl-mmcv (its files are gone or overwritten)',
        '  mmseg: onedl-mmsegmentation',
        'Repair it with',
        f'  {remove_and_install("onedl-mmcv", "onedl-mmcv==2.3.6")}',
    ]


def test_only_the_folder_that_python_imports_from_counts(tmp_path):
    virtual = write_distributions(tmp_path / 'virtual', ALL_ONEDL)
    system = write_distributions(tmp_path / 'system', ALL_OPENMMLAB)
    child = run_isolated(CHECK, virtual, system)
    assert child.stdout == 'fine\n', child.stderr
    (virtual / 'onedl_mmcv-1.0.dist-info').rename(tmp_path / 'onedl_mmcv-1.0.dist-info')
    assert '  mmcv: mmcv' in import_error(virtual, system)


def test_the_printed_command_repairs_what_pip_installed(tmp_path):
    wheels = tmp_path / 'wheels'
    wheels.mkdir()
    for family in (ONEDL, OPENMMLAB):
        for requirement in family.tested.values():
            distribution, version = requirement.split('==')
            with zipfile.ZipFile(wheels / f'{distribution.replace("-", "_")}-{version}-py3-none-any.whl', 'w') as wheel:
                for name, content in files_of(distribution, version).items():
                    wheel.writestr(name, content)
    venv.create(tmp_path / 'venv')
    python = tmp_path / 'venv' / 'bin' / 'python'
    [site] = (tmp_path / 'venv').glob('lib/python*/site-packages')
    (site / 'pip').symlink_to(Path(pip.__file__).parent)
    environment = {**os.environ, 'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': str(wheels), 'PIP_CONFIG_FILE': os.devnull}
    for name in ('PIP_EXTRA_INDEX_URL', 'PYTHONPATH'):
        environment.pop(name, None)

    def run(command):
        return subprocess.run(command, shell=True, env=environment, cwd=tmp_path, capture_output=True, text=True)

    check = f'import sys; sys.path.append({str(REPOSITORY)!r}); {CHECK}'
    checked = f'{shlex.quote(str(python))} -c {shlex.quote(check)}'
    assert run(f'{python} -m pip install onedl-mmengine onedl-mmcv onedl-mmsegmentation').returncode == 0
    assert run(checked).stdout == 'fine\n'
    assert run(f'{python} -m pip install mmengine mmcv mmsegmentation').returncode == 0
    both = run(checked).stderr
    assert 'they overwrite each other' in both
    # What a user may try first: it takes the other family's files along.
    assert run(f'{python} -m pip uninstall -y mmengine mmcv mmsegmentation').returncode == 0
    gone = run(checked).stderr
    assert 'its files are gone or overwritten' in gone
    assert run(f'{python} -m pip install mmengine mmcv mmsegmentation').returncode == 0
    for message in (both, gone):
        repair = run(message.splitlines()[-1])
        assert repair.returncode == 0, repair.stderr
        assert run(checked).stdout == 'fine\n'


def test_this_environment_is_fine_and_cheap_to_check(monkeypatch):
    def refuse():
        raise AssertionError('all metadata was read although nothing is wrong')

    monkeypatch.setattr('cda_mmseg.environment.packages_distributions', refuse)
    check_environment()
    assert find_providers() in [
        {package: {requirement.split('==')[0]} for package, requirement in family.tested.items()}
        for family in (ONEDL, OPENMMLAB)
    ]


def test_importing_prints_nothing_and_changes_nothing(tmp_path):
    code = """
import mmengine.runner, mmengine.hooks, mmengine.visualization
import random, signal, sys, warnings
import numpy, torch

def state():
    return (
        random.getstate(), repr(numpy.random.get_state()), torch.get_rng_state().tolist(), torch.get_num_threads(),
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
        [signal.getsignal(number) for number in signal.valid_signals()], warnings.showwarning,
        mmengine.DefaultScope.get_current_instance(),
    )

before, loaded = state(), set(sys.modules)
import cda_mmseg.registration
assert state() == before
heavy = {'matplotlib', 'sklearn', 'rich', 'pandas', 'tensorboard', 'IPython', 'pytest', 'mpmath'}
assert not heavy & {name.split('.')[0] for name in set(sys.modules) - loaded}
assert not {'matplotlib', 'sklearn'} & set(sys.modules)
"""
    child = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert (child.returncode, child.stdout, child.stderr) == (0, '', '')
    assert list(tmp_path.iterdir()) == []


def test_the_package_alone_imports_no_network():
    code = "import cda_mmseg, sys; print({'torch', 'mmengine', 'mmcv', 'mmseg'} & set(sys.modules))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == 'set()\n'


def test_every_package_in_which_mmseg_is_imported_imports_it_without_notices_first():
    for init in (REPOSITORY / 'cda_mmseg').glob('*/**/__init__.py'):
        above = [folder / '__init__.py' for folder in (init.parent, *init.parents) if (folder / '__init__.py').exists()]
        imports_mmseg = any(
            re.search(r'^(from|import) mmseg', file.read_text(), re.M) for file in init.parent.glob('*.py')
        )
        assert not imports_mmseg or any(
            re.search(r'^import cda_mmseg\.(host|registration) ', file.read_text(), re.M) for file in above
        ), init


def test_only_the_two_misleading_notices_are_dropped(capsys):
    advice = 'Fail to import ``MultiScaleDeformableAttention`` from ``mmcv.ops``'
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        with without_misleading_notices():
            print_log('Could not import OneDL')
            print_log('Could not import the labels')
            print('Could not import OneDL')
            warnings.warn(advice, stacklevel=1)
            warnings.warn('Fail to import something else', stacklevel=1)
            warnings.filterwarnings('ignore', message='set while importing')
        warnings.warn('set while importing', stacklevel=1)
        print_log('Could not import OneDL')
        warnings.warn(advice, stacklevel=1)
    assert capsys.readouterr().out.splitlines() == [
        'Could not import the labels',
        'Could not import OneDL',
        'Could not import OneDL',
    ]
    assert [str(warning.message) for warning in caught] == ['Fail to import something else', advice]
    assert warnings.filters == filters
