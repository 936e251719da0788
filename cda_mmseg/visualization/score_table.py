"""Write the scores of several runs side by side."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from cda_mmseg.evaluation.domain_iou import RESERVED_NAMES
from cda_mmseg.visualization.run_log import RunLog

MISSING = '–'


def format_score_table(runs: Sequence[RunLog], per_class: bool = True, notes: Sequence[str] = ()) -> str:
    """Write a Markdown table of the last snapshot's scores of several runs.

    The best target score stands in a column of its own that says what it is: an oracle, chosen by target labels. Scores
    that a run did not log, such as those of a target without labels, are a dash. Where there are several targets or
    sources, each has a column behind that of their mean.

    Args:
        runs (Sequence[RunLog]): One row each.
        per_class (bool): Whether a second table with the target's IoU per class follows.
        notes (Sequence[str]): Sentences printed below, such as on what the source was scored.

    Returns:
        str: Markdown, with a line break at the end.

    Raises:
        ValueError: If there are no runs.
    """
    if not runs:
        raise ValueError('a score table needs at least one run')
    class_lists = _names(runs, lambda name: name not in RESERVED_NAMES and '.' not in name)
    signals = [
        name for name in ('share_distance', 'entropy') if any(f'target/{name}' in run.validation for run in runs)
    ]
    domains = _domains(runs)
    header = ['run', 'iterations', *(f'{domain} mIoU' for domain in domains)]
    header += ['best target mIoU (oracle, at iteration)']
    header += [f'{domain} {name}' for name in class_lists for domain in domains]
    header += [f'target {name}'.replace('_', ' ') for name in signals]
    rows = []
    for run in runs:
        best = run.best('target/mIoU')
        steps = [int(series.steps[-1]) for series in run.validation.values()]
        row = [run.name, str(max(steps)) if steps else MISSING]
        row += [_last(run, f'{domain}/mIoU') for domain in domains]
        row += [f'{best.value:.2f} ({best.step})' if best else MISSING]
        row += [_last(run, f'{domain}/{name}') for name in class_lists for domain in domains]
        row += [_last(run, f'target/{name}') for name in signals]
        rows.append(row)
    text = _markdown(header, rows)
    text += (
        '\nPercent, last snapshot. The oracle chooses its snapshot by target labels, which adaptation does not have.\n'
    )
    classes = [name.removeprefix('IoU.') for name in _names(runs, lambda name: name.startswith('IoU.'))]
    if per_class and classes:
        text += '\nTarget IoU per class, last snapshot:\n\n'
        text += _markdown(
            ['run', *classes], [[run.name, *(_last(run, f'target/IoU.{name}') for name in classes)] for run in runs]
        )
    return text + ''.join(f'\n{note}\n' for note in notes)


def write_score_table(
    runs: Sequence[RunLog], path: str | Path, per_class: bool = True, notes: Sequence[str] = ()
) -> Path:
    """Write the table of :func:`format_score_table` to a file.

    Args:
        runs (Sequence[RunLog]): One row each.
        path (str | Path): The Markdown file; its folder is made if need be.
        per_class (bool): Whether a second table with the target's IoU per class follows.
        notes (Sequence[str]): Sentences printed below.

    Returns:
        Path: The file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_score_table(runs, per_class, notes), encoding='utf-8')
    return path


def _names(runs: Sequence[RunLog], wanted: Callable[[str], bool]) -> list[str]:
    """List the wanted score names of any run and domain, in the order in which they were logged."""
    names = (key.split('/', 1)[1] for run in runs for key in run.validation if '/' in key)
    return list(dict.fromkeys(name for name in names if wanted(name)))


def _domains(runs: Sequence[RunLog]) -> list[str]:
    """List source and target, each followed by the domains that it is the mean of."""
    logged = sorted({key.split('/', 1)[0] for run in runs for key in run.validation if '/' in key})
    return [name for role in ('source', 'target') for name in (role, *(n for n in logged if n.startswith(f'{role}_')))]


def _last(run: RunLog, score: str) -> str:
    """Format the last snapshot's score."""
    point = run.last(score)
    return MISSING if point is None or math.isnan(point.value) else f'{point.value:.2f}'


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table, numbers to the right."""
    lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
    return ''.join('| ' + ' | '.join(cell.replace('|', r'\|') for cell in line) + ' |\n' for line in lines)
