"""Run the benchmarks, one after the other, and write table, plot and figures.

    python -m benchmarks [--only NAME ...] [--device cpu] [--threads 2] [--out docs/results]

What was measured before and is not measured now stays in the table. A busy machine is refused, or named in the table
with --beside-work.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.measuring import busy
from benchmarks.rows import format_table
from benchmarks.suite import CPU_ONLY, REPORTS, TABLES, format_run, measure, read_results, results_path, write_results

RESULTS = Path(__file__).resolve().parents[1] / 'docs' / 'results'


def main(arguments: Sequence[str] | None = None) -> None:
    names = [*TABLES, *REPORTS]
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description='Run the benchmarks.')
    parser.add_argument('--only', nargs='+', choices=names, default=None, help='what to measure; all by default')
    parser.add_argument('--device', default='cpu', help="'cpu' or a GPU such as 'cuda'")
    parser.add_argument('--threads', type=int, default=2, help='threads of a CPU')
    parser.add_argument('--out', type=Path, default=RESULTS, help='folder of the results')
    parser.add_argument(
        '--allow-busy', action='store_true', help='measure on a busy machine, print to the terminal and write nothing'
    )
    parser.add_argument(
        '--beside-work', action='store_true', help='measure and write on a busy machine too; the table says so'
    )
    options = parser.parse_args(arguments)
    possible = [name for name in names if options.device == 'cpu' or name not in CPU_ONLY]
    impossible = [name for name in options.only or [] if name not in possible]
    if impossible:
        parser.error(f'{", ".join(impossible)}: measured on a CPU only; leave out --device {options.device}.')
    reason = None if options.allow_busy or options.beside_work else busy()
    if reason:
        parser.exit(1, f'{reason}\n')
    load = os.getloadavg()[0]
    path = results_path(options.out, options.device)
    results = read_results(path)

    console = Console()
    columns = SpinnerColumn(), TextColumn('{task.description}'), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        chosen = options.only or possible
        task = progress.add_task('', total=len(chosen))
        for name in chosen:
            progress.update(task, description=name)
            measured = {
                **measure(name, options.device, options.threads, load),
                **(dict(beside_work=True) if options.beside_work else {}),
            }
            body = format_table(measured['rows']) if 'rows' in measured else measured['text']
            console.print(f'\n{name}\n{body}\n{format_run(measured)}', markup=False, highlight=False, soft_wrap=True)
            if not options.allow_busy:
                # After each, so that an interrupted run keeps what it has.
                results[name] = measured
                write_results(path, results)
            progress.advance(task)
    console.print('Nothing was written.' if options.allow_busy else f'Written: {path}.md, .svg, .png and .json')


if __name__ == '__main__':
    main()
