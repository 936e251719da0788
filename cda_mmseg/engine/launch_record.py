"""How a run was started: written beside its log, where a report finds it."""

import ast
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import mmcv
import mmengine
import mmseg
import numpy
import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from cda_mmseg.version import __version__

RECORD = 'launch.json'


def describe_launch(runner: Runner) -> dict:
    """Write down command, config and its changes, seed, versions and machine as plain data."""
    filename = runner.cfg.filename
    return dict(
        command=shlex.join(sys.orig_argv),
        folder=os.getcwd(),
        config=filename,
        changes=changes_of_leaf(Path(filename)) if filename and Path(filename).is_file() else [],
        seed=runner.seed,
        processes=get_world_size(),
        versions=dict(
            Python=platform.python_version(),
            cda_mmseg=__version__,
            **{module.__name__: module.__version__ for module in (torch, mmengine, mmcv, mmseg, numpy)},
        ),
        machine=describe_machine(),
    )


def describe_machine() -> str:
    """Name system, cores and GPUs."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    named = [f'{gpus.count(name)} × {name}' for name in dict.fromkeys(gpus)]
    return ', '.join([f'{platform.system()} {platform.machine()}', f'{os.cpu_count()} cores', *named])


def changes_of_leaf(path: Path) -> list[str]:
    """List what a config file says otherwise than the files in its ``_base_``: a line per key, dots between levels."""
    bases = [Path(path.parent, base) for base in _bases_in(path)]
    if not bases:
        return []
    below: dict = {}
    for base in bases:
        below |= Config.fromfile(base).to_dict()
    return list(_differences(below, Config.fromfile(path).to_dict()))


def _bases_in(path: Path) -> list[str]:
    """Read the files named in ``_base_`` as text; those of other packages and computed ones are passed over."""
    for statement in ast.parse(path.read_text(encoding='utf-8')).body if path.suffix == '.py' else ():
        is_assignment = isinstance(statement, ast.Assign) and isinstance(statement.value, ast.List | ast.Constant)
        if is_assignment and ast.unparse(statement.targets[0]) == '_base_':
            named = ast.literal_eval(statement.value)
            return [base for base in ([named] if isinstance(named, str) else named) if '::' not in base]
    return []


def _differences(old: object, new: object, place: str = '') -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and not (place and old.get('type') != new.get('type')):
        for key in [*new, *(old.keys() - new.keys())]:
            where = f'{place}.{key}' if place else str(key)
            if key not in new:
                yield f'{where}: {old[key]!r} → left out'
            elif key not in old:
                yield f'{where}: {new[key]!r}'
            else:
                yield from _differences(old[key], new[key], where)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (was, now) in enumerate(zip(old, new, strict=True)):
            yield from _differences(was, now, f'{place}.{number}')
    elif old != new:
        yield f'{place}: {old!r} → {new!r}'
