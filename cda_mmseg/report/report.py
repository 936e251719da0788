"""Gather what a report shows, and write it."""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from cda_mmseg.report.arms import Arm, group_runs
from cda_mmseg.report.page import write_page
from cda_mmseg.report.pictures import Picture, Row, Scored, draw_rows, pick, score_run
from cda_mmseg.report.run import Run, read_run
from cda_mmseg.utils.atomic_file import write_text
from cda_mmseg.utils.loading.errors import CheckpointError
from cda_mmseg.visualization.curves import (
    CHANCE,
    find_warm_start_end,
    plot_domain_curves,
    plot_training_curves,
    split_losses,
)
from cda_mmseg.visualization.figures import inline_svg

WIDEST = 480


def write_report(
    folders: Sequence[tuple[str, str | Path]],
    out: str | Path,
    images: int | None = None,
    device: str = 'cpu',
    warn: Callable[[str], None] = print,
) -> list[Arm]:
    """Write what runs came to into one HTML file.

    Of each arm the first run that has a checkpoint predicts the target's validation images, which the last arm's config
    names; the errors and reconstructions shown are the last arm's.

    Args:
        folders: Name and ``work_dir`` of each run. Runs of one name are seeds of one arm; the first arm is the
            baseline.
        out: The file.
        images: How many images of the target to predict at most, spread evenly; None for all.
        device: Device to predict on.
        warn: Takes a line for each arm whose images could not be predicted.

    Returns:
        list[Arm]: What was read.

    Raises:
        FileNotFoundError: If a folder is not that of a run.
        UsageError: If two runs have one name and one seed.
    """
    arms = group_runs([read_run(name, Path(folder)) for name, folder in folders])
    scored, missing = _score(arms, images, device, warn)
    text = write_page(
        arms,
        figures=_draw_figures(arms),
        scored=scored,
        missing=missing,
        rows=_draw_pictures(scored),
    )
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_text(str(out), text)
    return arms


def _draw_figures(arms: Sequence[Arm]) -> dict[str, Markup]:
    runs = [run for arm in arms for run in arm.runs]
    warm_start_end = next((end for run in runs if (end := find_warm_start_end(run.config)) is not None), None)
    figures = {}
    if any('/mIoU' in name for run in runs for name in run.log.validation):
        notes = {run.source_note for run in runs if run.source_note}
        figure = plot_domain_curves([run.log for run in runs], 'mIoU', warm_start_end, source_note='; '.join(notes))
        figures['curves'] = Markup(inline_svg(figure))
    if any('loss' in name for run in runs for name in run.log.training):
        logs = [split_losses(run.log, run.config) for run in runs]
        vanilla = all(_gan_type(run) == 'vanilla' for run in runs)
        chance = CHANCE if vanilla else {}
        figures['losses'] = Markup(inline_svg(plot_training_curves(logs, warm_start_end, chance)))
    return figures


def _gan_type(run: Run) -> str:
    adaptations = (run.config.model.get('adaptations') or {}).values()
    losses = [one['loss_gan'] for one in adaptations if one and one.get('loss_gan')]
    return losses[0].get('gan_type', 'vanilla') if losses else 'vanilla'


def _score(
    arms: Sequence[Arm], images: int | None, device: str, warn: Callable[[str], None]
) -> tuple[list[Scored], dict[str, str]]:
    """Predict with a run of each arm; say why where none can."""
    scored, missing = [], {}
    for arm in arms:
        run = next((run for run in arm.runs if run.checkpoint), None)
        if run is None:
            missing[arm.name] = 'there is no checkpoint'
            continue
        try:
            scored.append(score_run(run, arms[-1].runs[0], images, device, whole=arm is arms[-1]))
        except (CheckpointError, OSError, ValueError) as error:
            missing[arm.name] = str(error)
            warn(f'{run.title} has no pictures in the report: {error}')
    return scored, missing


def _draw_pictures(scored: Sequence[Scored]) -> dict[str, list[Row]]:
    """Heading → images, drawn for the last arm."""
    if not scored:
        return {}
    *others, shown = scored
    return {
        heading: [
            Row(row.caption, {title: _embed(picture) for title, picture in row.pictures.items()})
            for row in draw_rows(positions, shown, others)
        ]
        for heading, positions in pick(shown).items()
    }


def _embed(picture: Picture) -> str:
    """Write a picture as the address of itself, no wider than it is shown; flat colours stay as they are."""
    image = Image.fromarray(picture)
    if image.width > WIDEST:
        size = (WIDEST, max(1, round(image.height * WIDEST / image.width)))
        image = image.resize(size, Image.Resampling.NEAREST)
    is_flat = image.getcolors(256) is not None
    kind, settings = ('PNG', dict(optimize=True)) if is_flat else ('JPEG', dict(quality=88))
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return f'data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}'
