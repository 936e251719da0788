"""Lay measured scores beside the paper's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prettytable import PrettyTable

from cda_mmseg.paper.data_settings import DataSetting
from cda_mmseg.paper.experiments import PAIR_TITLES, Experiment, Reading
from cda_mmseg.paper.gradient_sizes import GradientSizes
from cda_mmseg.paper.paper_sweep import PointResult
from cda_mmseg.paper.statistics import MISSING, gains, summarize
from cda_mmseg.paper.tables import Row, Table


@dataclass(frozen=True)
class MeasuredTable:
    """A table of the paper with measured numbers, ready to be written.

    Attributes:
        title (str): What it shows, on which data.
        scores (PrettyTable): The paper's numbers and ours.
        classes (PrettyTable | None): IoU per class of the target; None if nothing is measured yet.
        notes (tuple[str, ...]): Sentences below.
        runs (PrettyTable): The runs that it is made from.
    """

    title: str
    scores: PrettyTable
    classes: PrettyTable | None
    notes: tuple[str, ...]
    runs: PrettyTable


def measure_table(
    table: Table,
    setting: DataSetting,
    results: Mapping[str, Mapping[int, PointResult]],
    readings: tuple[Reading, ...],
    sizes: GradientSizes | None,
    notes: Sequence[str] = (),
) -> MeasuredTable:
    """Fill a table of the paper.

    Args:
        setting (DataSetting): The data of the runs.
        results (Mapping[str, Mapping[int, PointResult]]): Folder of an experiment → seed → finished run.
        readings (tuple[str, ...]): Readings to show.
        sizes (GradientSizes | None): Gradient sizes at the end of the warm start, if measured.
        notes (Sequence[str]): Sentences to add below.

    Returns:
        MeasuredTable: The table; what has not been run is a dash.
    """
    shown = list(table.measured_rows(readings))
    names = setting.score_names(table.pair)
    by_row = [results.get(experiment.folder, {}) if experiment else {} for _, _, experiment in shown]
    baseline = results.get(table.baseline.folder, {})

    columns: dict[str, list[str]] = {
        'model': [row.label for row, _, _ in shown],
        'fixed': [row.fixed for row, _, _ in shown],
        'network': [row.base for row, _, _ in shown],
        'reading': [reading or '' for _, reading, _ in shown],
    }
    for column, name in names.items():
        target = f'target/{name}'
        columns[f'paper: {column}'] = [_published(row, column) for row, _, _ in shown]
        columns[f'measured: {column}'] = [_last(runs, target) for runs in by_row]
        if column == 'mIoU':
            columns['paper: gain'] = [_published(row, 'gain') for row, _, _ in shown]
            columns[f'measured: gain over {_label(table, table.baseline)}'] = [
                summarize(gains(_scores(runs, target), _scores(baseline, target))).signed()
                if experiment and experiment.folder != table.baseline.folder
                else ''
                for runs, (_, _, experiment) in zip(by_row, shown, strict=True)
            ]
    columns['best snapshot (oracle)'] = [
        str(
            summarize(
                {seed: best.value for seed, run in runs.items() if (best := run.log.best(f'target/{names["mIoU"]}'))}
            )
        )
        for runs in by_row
    ]
    columns['source mIoU'] = [_last(runs, f'source/{names["mIoU"]}') for runs in by_row]
    if len(table.readings) > 1:
        columns['adversarial weight'] = [_weight(row.experiment, reading, sizes) for row, reading, _ in shown]
        columns['adversarial : segmentation'] = [_ratio(row.experiment, reading, sizes) for row, reading, _ in shown]
    columns['seeds'] = [
        ' '.join(map(str, sorted(runs))) or MISSING if experiment else ''
        for runs, (_, _, experiment) in zip(by_row, shown, strict=True)
    ]
    scores = PrettyTable()
    for header, cells in columns.items():
        if any(cells):
            scores.add_column(
                header, [_hide(cell, row.experiment) for cell, (row, _, _) in zip(cells, shown, strict=True)]
            )
    scores.align = 'r'
    for header in ('model', 'fixed', 'network', 'reading'):
        if header in scores.field_names:
            scores.align[header] = 'l'
    return MeasuredTable(
        title=f'{table.heading}: {setting.title}',
        scores=scores,
        classes=_class_table(shown, by_row),
        notes=(*_explain(table, setting, sizes), *table.notes, *_lengths(by_row), *notes),
        runs=_run_table(table, results, readings),
    )


def _published(row: Row, column: str) -> str:
    return f'{row.published[column]:.1f}' if column in row.published else ''


def _hide(cell: str, experiment: Experiment | None) -> str:
    """Leave the measured cells of rows that nothing measures empty instead of dashed."""
    return '' if experiment is None and cell == MISSING else cell


def _scores(runs: Mapping[int, PointResult], score: str) -> dict[int, float]:
    return {seed: last.value for seed, run in runs.items() if (last := run.log.last(score)) is not None}


def _last(runs: Mapping[int, PointResult], score: str) -> str:
    return str(summarize(_scores(runs, score)))


def _label(table: Table, experiment: Experiment) -> str:
    """Name the baseline as its row is named, or by its method if it has none."""
    labels = [row.label for row in table.rows if row.experiment and row.experiment.folder == experiment.folder]
    return labels[0] if labels else {'source_only': 'source-only', 'gan_ce': 'GAN + CE'}[experiment.method]


def _factor(experiment: Experiment, reading: Reading | None, sizes: GradientSizes) -> float:
    """Look up the factor of the adversarial weight."""
    return sizes.equal_ratio_factor(experiment.name) if reading == 'equal-ratio' else 1.0


def _weight(experiment: Experiment | None, reading: Reading | None, sizes: GradientSizes | None) -> str:
    """Format E's adversarial weight."""
    if experiment is None or not experiment.adversarial:
        return ''
    if sizes is None:
        return MISSING
    return f'{_factor(experiment, reading, sizes) * sizes.adversarial_weight:.2g}'


def _ratio(experiment: Experiment | None, reading: Reading | None, sizes: GradientSizes | None) -> str:
    """Format the ratio of adversarial to segmentation gradient."""
    if experiment is None or not experiment.adversarial:
        return ''
    if sizes is None:
        return MISSING
    loss = experiment.name if experiment.has_warm_start else None
    return f'{sizes.ratio(loss, _factor(experiment, reading, sizes)):.2g}'


def _iterations(result: PointResult) -> int:
    """Count the iterations of a run."""
    return max(int(series.steps[-1]) for series in result.log.training.values())


def _lengths(by_row: Sequence[Mapping[int, PointResult]]) -> list[str]:
    """Say how long the runs are."""
    lengths = sorted({_iterations(result) for runs in by_row for result in runs.values()})
    return [f'{" or ".join(map(str, lengths))} iterations a run.'] if lengths else []


def _class_table(
    shown: Sequence[tuple[Row, Reading | None, Experiment | None]], by_row: Sequence[Mapping[int, PointResult]]
) -> PrettyTable | None:
    """Average the target's IoU of each class over the seeds."""
    prefix = 'target/IoU.'
    classes = list(
        dict.fromkeys(
            name.removeprefix(prefix)
            for runs in by_row
            for run in runs.values()
            for name in run.log.validation
            if name.startswith(prefix)
        )
    )
    if not classes:
        return None
    lines = PrettyTable(['model', *classes])
    lines.align = 'r'
    lines.align['model'] = 'l'
    for (row, reading, _), runs in zip(shown, by_row, strict=True):
        if runs:
            label = row.label + (f' ({reading})' if reading else '')
            means = [summarize(_scores(runs, f'{prefix}{name}')).mean for name in classes]
            lines.add_row([label, *(f'{value:.1f}' if value == value else MISSING for value in means)])
    return lines


def _run_table(
    table: Table, results: Mapping[str, Mapping[int, PointResult]], readings: tuple[Reading, ...]
) -> PrettyTable:
    """List the runs."""
    lines = PrettyTable(['run', 'iterations', 'minutes'])
    lines.align = 'r'
    lines.align['run'] = 'l'
    for experiment in table.experiments(readings):
        for _, result in sorted(results.get(experiment.folder, {}).items()):
            minutes = 'resumed' if result.seconds is None else f'{result.seconds / 60:.1f}'
            lines.add_row([f'{experiment.folder}/seed_{result.point.seed}', _iterations(result), minutes])
    return lines


def _explain(table: Table, setting: DataSetting, sizes: GradientSizes | None) -> list[str]:
    """Say what the columns are."""
    notes = [
        'Percent. Measured numbers are those of the last snapshot, mean ± sample standard deviation over the seeds; '
        'gains are differences of runs with the same seed. The best snapshot is chosen by target labels, which '
        'adaptation does not have.'
    ]
    if setting.name != 'downloads':
        notes.append(
            f"The paper's numbers are on {PAIR_TITLES[table.pair]}, ours on {setting.title}: only their order can be "
            'compared.'
        )
    if len(table.readings) > 1:
        notes.append(
            'Reading `paper`: the adversarial weight of all rows is that of GAN + CE. Reading `equal-ratio`: it is '
            'rescaled so that the ratio of adversarial to segmentation gradient on E at the end of the warm start is '
            'that of GAN + CE; the cross entropy of the warm start gets the same factor, so that the warm start stays '
            'the same under Adam. The last two columns are that weight and that ratio.'
        )
        if sizes is not None:
            notes.append(
                f'Gradient norms on E, medians of {sizes.batches} batches at iteration {sizes.iteration} of GAN + CE: '
                f'cross entropy {sizes.cross_entropy:.3g}, adversarial term at weight 1 {sizes.adversarial:.3g}.'
            )
    return notes
