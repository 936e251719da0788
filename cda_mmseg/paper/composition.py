"""Compose the config of an experiment from a leaf, a method's loss and the length of the run."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config, ConfigDict

from cda_mmseg.engine.composition import check_option, compose, read_config
from cda_mmseg.paper.data_settings import DataSetting
from cda_mmseg.paper.experiments import RIVALS, Experiment
from cda_mmseg.paper.schedule import keep_warm_start, scale_schedule
from cda_mmseg.paper.tables import TABLES
from cda_mmseg.utils.progress import iteration_at

WARM_FRACTION = 0.5
"""Share of the iterations after which GAN + CE is measured: the warm start of every other loss ends there."""


def compose_config(
    configs: Path,
    setting: DataSetting,
    experiment: Experiment,
    scale: float = 1.0,
    validations: int | None = None,
    adversarial_factor: float = 1.0,
    options: Mapping[str, object] | None = None,
) -> Config:
    """Write down what an experiment trains.

    Every experiment with a GAN is the setting's GAN + CE config with another segmentation loss, and every competitor
    its source-only config with adaptations, so that nothing else can differ between the rows of a table.

    Args:
        configs (Path): The folder of configs.
        scale (float): Factor of the schedule's length.
        validations (int | None): Number of validations of a run.
        adversarial_factor (float): Factor k of E's adversarial weight. The warm start's cross entropy gets it as well,
            so that the warm start stays that of GAN + CE up to the common factor k, which Adam cancels.
        options (Mapping[str, object] | None): Dotted config keys → values, for all experiments.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: If the setting has no config for this pair.
        KeyError: If an option names a key whose parents the composed config does not have.
        TypeError: If an option has one value for what has keys of its own.
        ValueError: If a factor is asked of an experiment without a warm start.
    """
    path = configs / setting.config_path('gan_ce' if experiment.adversarial else 'source_only', experiment.pair)
    if not path.is_file():
        raise FileNotFoundError(f'There is no config {path}, which {setting.title} needs for {experiment.pair}.')
    config = read_config(path)
    if experiment.method in RIVALS:
        _lay_method(config, configs, experiment.method)
    elif experiment.method not in ('source_only', 'gan_ce'):
        config.model.decode_head.loss_decode = segmentation_loss(configs, experiment)
    if adversarial_factor != 1:
        if not experiment.has_warm_start:
            raise ValueError(f'{experiment.folder} has no warm start at whose end gradients could be compared.')
        config.model.adaptations.image_adversary.encoder_adversarial_weight *= adversarial_factor
        config.model.decode_head.loss_decode.warm.loss_weight = adversarial_factor
    setting.place_data(config)
    for key, value in (options or {}).items():
        # what compose moves would not be in force any more under its former name
        check_option(config, key, value)
    config.merge_from_dict(dict(options or {}))
    scale_schedule(config, scale, validations)
    if experiment.method == 'gan_ce':
        keep_warm_start(config, warm_start_end(config))
    return config


def _lay_method(config: Config, configs: Path, method: str) -> None:
    """Lay a method's adaptations over a config that has none."""
    config.adaptations = Config.fromfile(configs / '_base_' / 'methods' / f'{method}.py').adaptations
    compose(config)
    if method == 'curriculum':
        steps = config.target_dataloader.dataset.pipeline
        after = 1 + next(number for number, step in enumerate(steps) if step.type == 'LoadImage')
        steps.insert(after, ConfigDict(type='LoadSuperpixels', segments=100))


def segmentation_loss(configs: Path, experiment: Experiment) -> ConfigDict:
    """Compose the segmentation loss of an experiment.

    Args:
        configs (Path): The folder of configs.

    Returns:
        ConfigDict: Config of the loss.
    """
    method = Config.fromfile(configs / '_base_' / 'methods' / f'{experiment.method}.py')
    loss = Config(dict(loss=method.source_loss))
    loss.merge_from_dict({f'loss.{key}': value for key, value in experiment.changes})
    return loss.loss


def main_losses(configs: Path) -> dict[str, ConfigDict]:
    """Compose the losses that the paper's experiments train with after their warm starts.

    Args:
        configs (Path): The folder of configs.

    Returns:
        dict[str, ConfigDict]: Name of an experiment → config of the loss.
    """
    experiments = {
        row.experiment.name: row.experiment
        for table in TABLES.values()
        for row in table.rows
        if row.experiment is not None and row.experiment.has_warm_start
    }
    return {name: segmentation_loss(configs, experiment).main for name, experiment in experiments.items()}


def warm_start_end(config: Config) -> int:
    """Tell when the warm starts of a setting end.

    Args:
        config (Config): Config of any of its experiments.

    Returns:
        int: The first iteration after them.
    """
    return iteration_at(WARM_FRACTION, config.train_cfg.max_iters)
