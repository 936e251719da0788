"""Produce a table of the paper, or Fig. 1: ``python tools/paper.py table3 --data worlds --seeds 0 1 2``."""

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from mmengine.config import DictAction

from cda_mmseg.paper.campaign import Campaign, CampaignError, CampaignStopped, list_points
from cda_mmseg.paper.composition import warm_start_end
from cda_mmseg.paper.data_settings import find_setting
from cda_mmseg.paper.experiments import READINGS
from cda_mmseg.paper.measured_table import measure_table
from cda_mmseg.paper.projection import format_duration
from cda_mmseg.paper.table_files import write_table
from cda_mmseg.paper.tables import FIGURE_1, TABLES
from cda_mmseg.visualization.curves import plot_domain_curves
from cda_mmseg.visualization.figures import save_figure

ROOT = Path(__file__).resolve().parent.parent
FIGURE_1_TITLES = {'source_only': 'source-only', 'gan_ce': 'GAN + CE', 'gan_cl': 'GAN + CL'}


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
    parser.add_argument('--out', type=Path, help='folder of the campaign (default: work_dirs/paper/<data>_x<scale>)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='changes of config keys, for all runs')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('--project', action='store_true', help='print the projected time and stop')
    mode.add_argument('--no-train', action='store_true', help='write tables from finished runs only')
    return parser.parse_args()


def write_results(campaign: Campaign, arguments: argparse.Namespace) -> list[Path]:
    """Write tables and figures from what is finished."""
    readings = tuple(reading for reading in READINGS if reading in arguments.readings)
    notes = [f'Scale of the schedule: {arguments.scale:g}.']
    notes += [f'Not finished: {point} ({reason}).' for point, reason in campaign.failures.items()]
    files: list[Path] = []
    for name in (name for name in TABLES if name in arguments.what):
        table = TABLES[name]
        results = {
            experiment.folder: {
                point.seed: result
                for point in list_points([experiment], arguments.seeds)
                if (result := campaign.result(point)) is not None
            }
            for experiment in table.experiments(readings)
        }
        sizes = campaign.gradient_sizes(table.pair) if len(table.readings) > 1 else None
        measured = measure_table(table, campaign.setting, results, readings, sizes, notes)
        files += write_table(measured, campaign.out / name)
    if 'fig1' in arguments.what:
        files += draw_figure_1(campaign, arguments.seeds)
    return files


def draw_figure_1(campaign: Campaign, seeds: list[int]) -> list[Path]:
    """Draw the scores on both domains during training, one figure per seed."""
    files: list[Path] = []
    for seed in seeds:
        points = list_points(FIGURE_1, [seed])
        logs = []
        for point in points:
            result = campaign.result(point)
            if result is not None:
                logs.append(replace(result.log, name=FIGURE_1_TITLES[point.experiment.name]))
        if logs:
            end = warm_start_end(campaign.compose(FIGURE_1[0]))
            title = f'{campaign.setting.title}, seed {seed}'
            files += save_figure(
                plot_domain_curves(logs, warm_start_end=end, title=title), campaign.out / f'fig1_{seed}'
            )
    return files


def main() -> None:
    """Project, train, write."""
    arguments = parse_arguments()
    setting = find_setting(arguments.data)
    out = arguments.out or Path('work_dirs') / 'paper' / f'{setting.name}_x{arguments.scale:g}'
    campaign = Campaign(ROOT, out, setting, arguments.scale, arguments.validations, arguments.cfg_options)
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
        missing = [point for point in points if not campaign.is_finished(point)]
        print(f'{len(points)} runs, {len(points) - len(missing)} of them finished, in {out}')
        if missing:
            print(
                f'Projected time of the other {len(missing)}: {format_duration(campaign.project(points))}', flush=True
            )
        if arguments.project:
            return
        # A scheduler's SIGTERM ends the campaign as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        begin = time.monotonic()
        try:
            for number, point in enumerate(campaign.run(points), start=1):
                elapsed = format_duration(time.monotonic() - begin)
                print(f'[{number}/{len(missing)}] {point} (after {elapsed})', flush=True)
        except CampaignStopped as stop:
            print(f'{stop} The same command goes on from there.', file=sys.stderr)
            sys.exit(os.EX_TEMPFAIL)
    for file in write_results(campaign, arguments):
        print(file)
    for point, reason in campaign.failures.items():
        print(f'Not finished: {point}: {reason}', file=sys.stderr)
    sys.exit(1 if campaign.failures else 0)


if __name__ == '__main__':
    try:
        main()
    except (CampaignError, FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
