"""Which packages provide mmengine, mmcv and mmseg.

Two families of distributions install these three import packages into the same folders: OneDL's, which are maintained,
and OpenMMLab's. pip does not notice when both are installed; their files then overwrite each other, and what is left
fails in places that have nothing to do with the cause. One more distribution, called ``mmseg``, is a tokenizer.
"""

import importlib.util
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions, packages_distributions

IMPORT_PACKAGES = ('mmengine', 'mmcv', 'mmseg')


class EnvironmentMixtureError(RuntimeError):
    """Raised when mmengine, mmcv and mmseg do not all come from one family of distributions.

    It is no ImportError, because mmengine replaces the message of an ImportError in ``custom_imports`` by its own.
    """


@dataclass(frozen=True)
class Family:
    """Hold the distributions of one publisher that belong together.

    Attributes:
        name (str): The publisher.
        providers (dict[str, frozenset[str]]): Import package to the names of the distributions that may provide it.
        tested (dict[str, str]): Import package to the pip requirement that was tested.
    """

    name: str
    providers: dict[str, frozenset[str]]
    tested: dict[str, str]


ONEDL = Family(
    name='OneDL',
    providers={
        'mmengine': frozenset({'onedl-mmengine'}),
        'mmcv': frozenset({'onedl-mmcv'}),
        'mmseg': frozenset({'onedl-mmsegmentation'}),
    },
    tested={
        'mmengine': 'onedl-mmengine==0.10.12',
        'mmcv': 'onedl-mmcv==2.3.6',
        'mmseg': 'onedl-mmsegmentation==1.4.2',
    },
)
OPENMMLAB = Family(
    name='OpenMMLab',
    providers={
        'mmengine': frozenset({'mmengine', 'mmengine-lite'}),
        'mmcv': frozenset({'mmcv'}),
        'mmseg': frozenset({'mmsegmentation'}),
    },
    tested={'mmengine': 'mmengine==0.10.7', 'mmcv': 'mmcv==2.1.0', 'mmseg': 'mmsegmentation==1.2.2'},
)
FAMILIES = (ONEDL, OPENMMLAB)
STRANGERS = {
    'mmengine': {},
    'mmcv': {
        'mmcv-full': 'mmcv 1.x',
        'mmcv-lite': 'mmcv without the operators that mmsegmentation imports',
    },
    'mmseg': {'mmseg': 'a tokenizer that only shares the name'},
}


def check_environment() -> None:
    """Check that exactly one family of distributions provides mmengine, mmcv and mmseg.

    Known distributions are looked up by name, which takes a few milliseconds; reading the metadata of everything that
    is installed is left for the moment when there is something to explain.

    Raises:
        EnvironmentMixtureError: If both families, a mixture, a stranger under one of the three names or nothing at all
            is installed, or if the files of an installed package are gone. The message ends with the command that
            repairs it.
    """
    providers = find_providers()
    damaged = [package for package in IMPORT_PACKAGES if providers[package] and not _is_importable(package)]
    if not damaged and any(not _packages_to_repair(family, providers) for family in FAMILIES):
        return
    raise EnvironmentMixtureError(_explain(providers, damaged))


def find_providers() -> dict[str, set[str]]:
    """Find the known distributions that provide mmengine, mmcv and mmseg.

    Only the first entry of ``sys.path`` that holds a provider of an import package counts for it, because that is where
    Python imports it from: a virtual environment may hide what the system has.

    Returns:
        dict[str, set[str]]: Import package to names of distributions, empty if no known distribution provides it.
    """
    providers: dict[str, set[str]] = {package: set() for package in IMPORT_PACKAGES}
    for package, found in providers.items():
        known = {*STRANGERS[package], *ONEDL.providers[package], *OPENMMLAB.providers[package]}
        for entry in sys.path:
            found.update(name for name in known if next(iter(distributions(name=name, path=[entry])), None))
            if found:
                break
    return providers


def _packages_to_repair(family: Family, providers: dict[str, set[str]]) -> list[str]:
    """List the import packages that do not come from exactly one distribution of this family."""
    return [
        package
        for package in IMPORT_PACKAGES
        if len(providers[package]) != 1 or not providers[package] <= family.providers[package]
    ]


def _is_importable(package: str) -> bool:
    """Tell whether a package has an ``__init__`` file, without importing it."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def _explain(providers: dict[str, set[str]], damaged: list[str]) -> str:
    """Say what provides each package, what is wrong with that and which command repairs it."""
    everything = packages_distributions()
    providers = {package: found or set(everything.get(package, ())) for package, found in providers.items()}
    lines = [
        'cda_mmseg needs mmengine, mmcv and mmseg from one family of packages, all from OneDL or all from OpenMMLab, '
        'but this environment has'
    ]
    for package in IMPORT_PACKAGES:
        found = ' and '.join(sorted(providers[package])) or 'nothing installed'
        notes = []
        if len(providers[package]) > 1:
            notes.append('they overwrite each other')
        if package in damaged:
            notes.append('its files are gone or overwritten')
        notes += [f'{name} is {what}' for name, what in STRANGERS[package].items() if name in providers[package]]
        lines.append(f'  {package}: {found}' + (f' ({"; ".join(notes)})' if notes else ''))
    return '\n'.join([*lines, 'Repair it with', f'  {_repair_command(providers, damaged)}'])


def _repair_command(providers: dict[str, set[str]], damaged: list[str]) -> str:
    """Write the shell command that leaves one complete family, OneDL's unless only OpenMMLab's is complete."""
    complete = [
        family
        for family in FAMILIES
        if all(providers[package] & family.providers[package] for package in IMPORT_PACKAGES)
    ]
    family = (complete or [ONEDL])[0]
    wrong = sorted({*_packages_to_repair(family, providers), *damaged}, key=IMPORT_PACKAGES.index)
    pip = f'{shlex.quote(sys.executable)} -m pip'
    remove = sorted(set().union(*(providers[package] for package in wrong)))
    install = f'{pip} install {" ".join(family.tested[package] for package in wrong)}'
    return f'{pip} uninstall -y {" ".join(remove)} && {install}' if remove else install


@contextmanager
def without_misleading_notices() -> Iterator[None]:
    """Drop two notices while mmseg is imported for the first time; every other one is left alone.

    One says that OneDL's optional data set client is not installed. The other advises to replace ``mmcv-lite`` by
    ``mmcv`` for an operator that nothing here uses; following it mixes the families.
    """
    host = importlib.import_module('mmengine.logging.logger')

    def print_unless_known(*values: object) -> None:
        if values != ('Could not import OneDL',):
            print(*values)

    # mmengine.logging.print_log calls print(); a name in its module hides the built-in one from it alone.
    host.print = print_unless_known
    # warnings.catch_warnings() would also undo the filters that torch, NumPy and SciPy set while they are imported.
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    advice = warnings.filters[0]
    try:
        yield
    finally:
        del host.print
        warnings.filters.remove(advice)
