"""Lay several runs side by side: curves, score table and picture panel in one folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from cda_mmseg.engine.checkpointing.resume_point import checkpoint_folder, checkpoint_names, out_dir_of
from cda_mmseg.visualization.curves import find_warm_start_end, plot_domain_curves, plot_training_curves
from cda_mmseg.visualization.figures import save_figure
from cda_mmseg.visualization.panel import plot_panel
from cda_mmseg.visualization.predictions import TrainedModel, gather_panel
from cda_mmseg.visualization.run_log import read_run_log
from cda_mmseg.visualization.score_table import write_score_table


def write_report(
    runs: Mapping[str, str | Path],
    out: str | Path,
    rows_per_domain: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Path]:
    """Compare finished runs on the same data.

    Args:
        runs (Mapping[str, str | Path]): Name of a run → its ``work_dir``. The last one is the one whose reconstructions
            and training curves are shown.
        out (str | Path): Folder to write to.
        rows_per_domain (Mapping[str, int] | None): Images per domain in the panel; three of the target and one of the
            source by default.
        notes (Sequence[str]): Sentences printed below the table.

    Returns:
        dict[str, Path]: 'table', 'curves', 'training' and 'panel' → the main file of each.

    Raises:
        FileNotFoundError: If a run has no config or no checkpoint.
    """
    out = Path(out)
    logs = [read_run_log(work_dir, name) for name, work_dir in runs.items()]
    configs = {name: _config_of(Path(work_dir)) for name, work_dir in runs.items()}
    warm_start_end = next((end for end in map(find_warm_start_end, configs.values()) if end is not None), None)

    curves = save_figure(plot_domain_curves(logs, warm_start_end=warm_start_end), out / 'curves', ('.png', '.svg'))
    training = save_figure(plot_training_curves(logs[-1:], warm_start_end), out / 'training', ('.png', '.svg'))
    models = [
        TrainedModel(name, configs[name], _checkpoint_of(Path(work_dir), configs[name]))
        for name, work_dir in runs.items()
    ]
    rows, metainfo = gather_panel(models, rows_per_domain or dict(target=3, source=1))
    panel = save_figure(plot_panel(rows, metainfo['classes'], metainfo['palette']), out / 'panel', ('.png',))
    table = write_score_table(logs, out / 'scores.md', notes=notes)
    return dict(table=table, curves=curves[0], training=training[0], panel=panel[0])


def _config_of(work_dir: Path) -> Config:
    configs = sorted(work_dir.glob('*.py'))
    if len(configs) != 1:
        raise FileNotFoundError(f'{work_dir} should hold the one config that its run wrote, but has {len(configs)}.')
    return Config.fromfile(configs[0])


def _checkpoint_of(work_dir: Path, config: Config) -> str:
    folder = checkpoint_folder(str(work_dir), out_dir_of(config))
    names = checkpoint_names(folder)
    if not names:
        raise FileNotFoundError(f'{folder} holds no checkpoint.')
    return str(Path(folder, names[0]))
