"""Write tables and figures from what is finished of a sweep."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cda_mmseg.paper.composition import warm_start_end
from cda_mmseg.paper.experiments import READINGS, Reading
from cda_mmseg.paper.measured_table import measure_table
from cda_mmseg.paper.paper_sweep import PaperSweep, list_points
from cda_mmseg.paper.table_files import write_table
from cda_mmseg.paper.tables import FIGURE_1, TABLES
from cda_mmseg.visualization.curves import plot_domain_curves
from cda_mmseg.visualization.figures import save_figure

FIGURE_1_TITLES = {'source_only': 'source-only', 'gan_ce': 'GAN + CE', 'gan_cl': 'GAN + CL'}


def write_results(
    sweep: PaperSweep, what: Sequence[str], seeds: Sequence[int], readings: Sequence[Reading], scale: float
) -> list[Path]:
    """Write tables and figures from what is finished.

    Args:
        sweep: The runs.
        what: Names of tables, and 'fig1'.
        seeds: Seeds of every experiment.
        readings: Readings of the paper that loss ablations are made under.
        scale: Factor of the schedule, for the notes.

    Returns:
        list[Path]: The files.
    """
    readings = tuple(reading for reading in READINGS if reading in readings)
    notes = [f'Scale of the schedule: {scale:g}.']
    notes += [f'Not finished: {point} ({reason}).' for point, reason in sweep.failures.items()]
    files: list[Path] = []
    for name in (name for name in TABLES if name in what):
        table = TABLES[name]
        results = {
            experiment.folder: {
                point.seed: result
                for point in list_points([experiment], seeds)
                if (result := sweep.result(point)) is not None
            }
            for experiment in table.experiments(readings)
        }
        sizes = sweep.gradient_sizes(table.pair) if len(table.readings) > 1 else None
        measured = measure_table(table, sweep.setting, results, readings, sizes, notes)
        files += write_table(measured, sweep.out / name)
    if 'fig1' in what:
        files += draw_figure_1(sweep, seeds)
    return files


def draw_figure_1(sweep: PaperSweep, seeds: Sequence[int]) -> list[Path]:
    """Draw the scores on both domains during training, one figure per seed."""
    files: list[Path] = []
    for seed in seeds:
        points = list_points(FIGURE_1, [seed])
        logs = []
        for point in points:
            result = sweep.result(point)
            if result is not None:
                logs.append(replace(result.log, name=FIGURE_1_TITLES[point.experiment.name]))
        if logs:
            end = warm_start_end(sweep.compose(FIGURE_1[0]))
            title = f'{sweep.setting.title}, seed {seed}'
            files += save_figure(plot_domain_curves(logs, warm_start_end=end, title=title), sweep.out / f'fig1_{seed}')
    return files
