"""Produce a table of the paper, or Fig. 1: ``python tools/paper.py table3 --data worlds --seeds 0 1 2``."""

import argparse
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLES = ('table1', 'table2', 'table3', 'table4', 'table5', 'table6', 'gradients')
READINGS = ('paper', 'equal-ratio')


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train what tables of the paper need, and write them.')
    parser.add_argument('what', nargs='+', choices=[*TABLES, 'fig1'], help='tables, and Fig. 1')
    parser.add_argument(
        '--data',
        required=True,
        help="'worlds' (built in), 'airsim' (AirSim to CamVid), 'smoke' (to try the tool), or the folder that holds "
        'gtav, synthia and cityscapes as downloaded',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='seeds of every experiment')
    parser.add_argument('--scale', type=float, default=1.0, help='factor of schedule and warm start (default: 1)')
    parser.add_argument('--readings', nargs='+', choices=READINGS, default=list(READINGS), help='of loss ablations')
    parser.add_argument('--validations', type=int, help="validations of a run (default: the config's)")
    parser.add_argument('--jobs', type=int, default=1, help='runs at once (default: 1)')
    parser.add_argument('--out', type=Path, help='folder of the sweep (default: work_dirs/paper/<data>_x<scale>)')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes of config keys, for all runs'
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('--project', action='store_true', help='print the projected time and stop')
    mode.add_argument('--no-train', action='store_true', help='write tables from finished runs only')
    return parser.parse_args()


def main() -> None:
    """Read the command line, then project, train, write."""
    arguments = parse_arguments()
    # A scheduler's SIGTERM ends the sweep as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from cda_mmseg.explained_errors import explained_errors

    try:
        with explained_errors():
            produce(arguments)
    except KeyboardInterrupt:
        print('Stopped; the runs under way have saved. The same command goes on from there.', file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)


def produce(arguments: argparse.Namespace) -> None:
    """Project, train, write, with errors as they are raised."""
    from cda_mmseg.experiments import SweepStoppedError
    from cda_mmseg.experiments.projection import format_duration
    from cda_mmseg.launch import read_options
    from cda_mmseg.paper.data_settings import find_setting
    from cda_mmseg.paper.paper_sweep import PaperSweep, list_points
    from cda_mmseg.paper.results import write_results
    from cda_mmseg.paper.tables import FIGURE_1, TABLES

    options = read_options(arguments.cfg_options)
    setting = find_setting(arguments.data)
    out = arguments.out or Path('work_dirs') / 'paper' / f'{setting.name}_x{str(arguments.scale).removesuffix(".0")}'
    sweep = PaperSweep(ROOT, out, setting, arguments.scale, arguments.validations, options or None)
    readings = tuple(reading for reading in READINGS if reading in arguments.readings)
    experiments = [
        experiment
        for name in (name for name in TABLES if name in arguments.what)
        for experiment in TABLES[name].experiments(readings)
    ]
    points = list_points([*experiments, *(FIGURE_1 if 'fig1' in arguments.what else ())], arguments.seeds)
    if not arguments.no_train:
        for pair in {point.experiment.pair for point in points}:
            setting.prepare(pair, workers=os.cpu_count() or 1)
        missing = [point for point in points if not sweep.is_finished(point)]
        print(f'{len(points)} runs, {len(points) - len(missing)} of them finished, in {out}')
        if missing:
            projected = format_duration(sweep.project(points) / arguments.jobs)
            print(f'Projected time of the other {len(missing)}: {projected}', flush=True)
        if arguments.project:
            return
        try:
            sweep.run(points, arguments.jobs, threads=max(1, (os.cpu_count() or 1) // arguments.jobs))
        except SweepStoppedError as stopped:
            print(stopped, file=sys.stderr)
            raise KeyboardInterrupt from None
    for file in write_results(sweep, arguments.what, arguments.seeds, arguments.readings, arguments.scale):
        print(file)
    for point, reason in sweep.failures.items():
        print(f'Not finished: {point}: {reason}', file=sys.stderr)
    sys.exit(1 if sweep.failures else 0)


if __name__ == '__main__':
    main()
