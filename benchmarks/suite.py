"""Run benchmarks, each in a process of its own, and keep what they measured."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import NotRequired, TypedDict

from benchmarks.child import rows_of
from benchmarks.measuring import machine
from benchmarks.plot import plot_rows
from benchmarks.rows import Row, check_row, format_table
from cda_mmseg.utils.atomic_file import write_text
from cda_mmseg.visualization.figures import save_figure

# Modules with a function ``rows(device=...)``, in the order of the table; behind a colon the part of it.
TABLES = {
    'loss': 'benchmarks.loss',
    'large-kernel': 'benchmarks.large_kernel',
    'step-naive': 'benchmarks.step:naive',
    'step-floor': 'benchmarks.step:floor',
    'step-switches': 'benchmarks.step:switches',
    'step-growth': 'benchmarks.step:growth',
    'scoring': 'benchmarks.scoring',
    'data': 'benchmarks.data',
    'prediction': 'benchmarks.prediction',
}
# Programs that print what they measured.
REPORTS = {
    'methods': 'benchmarks.methods',
    'memory': 'benchmarks.memory',
    'processes': 'benchmarks.processes',
    'reliability': 'benchmarks.reliability',
}
# Measured with one thread per process.
CPU_ONLY = ('data', 'methods', 'processes', 'reliability')


class Measured(TypedDict):
    """What one benchmark measured.

    Attributes:
        date: When it began, UTC.
        command: How to measure it again.
        machine: Where it ran.
        load: The machine's load before the suite began.
        beside_work: Whether the machine may have had other work.
        rows: The rows of a table.
        text: What a program printed.
    """

    date: str
    command: str
    machine: str
    load: float
    beside_work: NotRequired[bool]
    rows: NotRequired[list[Row]]
    text: NotRequired[str]


def measure(name: str, device: str, threads: int, load: float, modules: Mapping[str, str] | None = None) -> Measured:
    """Run one benchmark.

    Args:
        name (str): One of ``modules``.
        device (str): 'cpu' or a GPU.
        threads (int): Threads of a CPU.
        load (float): The machine's load before anything ran.
        modules (Mapping[str, str] | None): Modules by name; ``TABLES`` and ``REPORTS`` by default.

    Returns:
        Measured: What it measured.

    Raises:
        RuntimeError: If its process dies or fails.
        ValueError: If a row lacks something.
    """
    module = (modules or TABLES | REPORTS)[name]
    threads_used = 1 if name in CPU_ONLY else threads
    measured = Measured(
        date=f'{datetime.now(UTC):%Y-%m-%d %H:%M} UTC',
        command=f'python -m benchmarks --only {name} --device {device} --threads {threads}',
        machine=machine(device, threads_used),
        load=round(load, 2),
    )
    if name in REPORTS:
        return {**measured, 'text': _text_of(module, device, threads_used)}
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as process:
        try:
            rows = process.submit(rows_of, module, device, threads_used).result()
        except BrokenProcessPool as error:
            raise RuntimeError(f'The process of {module} died; was it killed for lack of memory?') from error
    for row in rows:
        check_row(row, name)
    return {**measured, 'rows': rows}


def _text_of(module: str, device: str, threads: int) -> str:
    command = [sys.executable, '-m', module, *([] if device == 'cpu' else ['--device', device])]
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{module} failed with code {done.returncode}:\n{done.stderr}')
    return done.stdout.strip()


def results_path(folder: Path, device: str) -> Path:
    """Name the results of a device, without suffix.

    Args:
        folder (Path): Where they lie.
        device (str): 'cpu' or a GPU.

    Returns:
        Path: For instance ``docs/results/benchmarks_cpu``.
    """
    return folder / f'benchmarks_{device.replace(":", "_")}'


def read_results(path: Path) -> dict[str, Measured]:
    """Read what was measured before.

    Args:
        path (Path): Of :func:`results_path`.

    Returns:
        dict[str, Measured]: By benchmark; empty if there is no file yet.

    Raises:
        ValueError: If the file is not one of ours.
    """
    file = Path(f'{path}.json')
    if not file.exists():
        return {}
    try:
        return json.loads(file.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise ValueError(f'{file} is no JSON ({error}); delete it and run all benchmarks.') from error


def write_results(path: Path, results: Mapping[str, Measured]) -> None:
    """Write the figures as JSON, and the table and the plot that are made from them.

    Args:
        path (Path): Of :func:`results_path`; .json, .md, .svg and .png are added.
        results (Mapping[str, Measured]): By benchmark.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    order = [name for name in TABLES | REPORTS if name in results]
    results = {name: results[name] for name in [*order, *(name for name in results if name not in order)]}
    write_text(f'{path}.json', json.dumps(results, indent=1, ensure_ascii=False) + '\n')
    rows = {name: measured['rows'] for name, measured in results.items() if 'rows' in measured}
    if any(rows.values()):
        save_figure(plot_rows(rows), path, suffixes=('.png', '.svg'))
    write_text(f'{path}.md', format_document(results, path.name))


def format_document(results: Mapping[str, Measured], name: str) -> str:
    """Write the document of a device.

    Args:
        results (Mapping[str, Measured]): By benchmark.
        name (str): Of the plot's file, without suffix.

    Returns:
        str: Markdown.
    """
    parts = [
        '# Benchmarks',
        'Written by `make bench`. A ratio is ours over theirs, both measured in one process, in turns; medians. '
        'Every part names the run it comes from; `load` is that of the machine before it began.',
    ]
    if any('rows' in measured for measured in results.values()):
        parts.append(f'![Ratios with what must be reached and what is aimed at]({name}.svg)')
    for benchmark, measured in results.items():
        parts.append(f'## {benchmark}')
        if 'rows' in measured:
            parts.append(format_table(measured['rows']))
        else:
            is_table = measured['text'].startswith('|')
            parts.append(measured['text'] if is_table else f'```\n{measured["text"]}\n```')
        parts.append(format_run(measured))
    return '\n\n'.join(parts) + '\n'


def format_run(measured: Measured) -> str:
    """Say where figures come from.

    Args:
        measured (Measured): What one benchmark measured.

    Returns:
        str: A line.
    """
    beside = ', beside other work' if measured.get('beside_work') else ''
    return f'{measured["date"]}, `{measured["command"]}`, {measured["machine"]}, load {measured["load"]:.2f}{beside}.'
