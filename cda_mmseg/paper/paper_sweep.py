"""Run the experiments of tables as a sweep, so that nothing finished is repeated and nothing begun is lost."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from mmengine.config import Config

from cda_mmseg.experiments import Arm, LocalCommands, Sweep, SweepError, SweepProgress, run_sweep
from cda_mmseg.experiments.projection import count_validation_images, measure_speed
from cda_mmseg.experiments.sweep import RESULT, TRAIN_TOOL, run_name
from cda_mmseg.paper.composition import compose_config, main_losses, warm_start_end
from cda_mmseg.paper.data_settings import DataSetting
from cda_mmseg.paper.experiments import READINGS, Experiment, gan_ce
from cda_mmseg.paper.gradient_sizes import GradientSizes, measure_gradient_sizes
from cda_mmseg.visualization.run_log import RunLog, read_run_log


class PaperSweepError(RuntimeError):
    """The sweep cannot go on as asked; the message says what to do."""


@dataclass(frozen=True)
class Point:
    """One training run.

    Attributes:
        experiment (Experiment): What is trained.
        seed (int): Its seed.
    """

    experiment: Experiment
    seed: int

    def __str__(self) -> str:
        return f'{self.experiment.folder}, seed {self.seed}'


@dataclass(frozen=True)
class PointResult:
    """A finished training run.

    Attributes:
        point (Point): Which.
        work_dir (Path): Its folder.
        log (RunLog): What it logged.
        seconds (float | None): How long it took; None if it was interrupted and resumed.
    """

    point: Point
    work_dir: Path
    log: RunLog
    seconds: float | None


def list_points(experiments: Iterable[Experiment], seeds: Sequence[int]) -> list[Point]:
    """Order what has to be trained: all experiments with the first seed, then all with the next.

    Args:
        experiments (Iterable[Experiment]): Experiments, some perhaps twice.

    Returns:
        list[Point]: Each run once. GAN + CE comes before the experiments that are compared with its gradients.

    Raises:
        ValueError: If two different experiments have one folder.
    """
    by_folder: dict[str, Experiment] = {}
    for experiment in experiments:
        if by_folder.setdefault(experiment.folder, experiment) != experiment:
            raise ValueError(f'{by_folder[experiment.folder]} and {experiment} have one folder, {experiment.folder}.')
    ordered = sorted(by_folder.values(), key=lambda experiment: experiment.reading != 'paper')
    return [Point(experiment, seed) for seed in dict.fromkeys(seeds) for experiment in ordered]


class PaperSweep:
    """Training runs of one data setting and one length, in one folder.

    ``configs/<pair>/<experiment>.py`` are their configs, ``runs/<pair>/<experiment>/seed<n>`` their work directories,
    ``gradients/<pair>.json`` the gradient sizes at the end of the warm start, and ``probes`` what projections are made
    from. Experiments that several tables share are run once.

    Args:
        root (Path): Folder with ``configs`` and ``tools``.
        out (Path): The sweep's folder.
        setting (DataSetting): The data.
        scale (float): Factor of the schedule's length.
        validations (int | None): Number of validations of a run; by default the config's.
        options (Mapping[str, object] | None): Dotted config keys → values, for all runs.
    """

    def __init__(
        self,
        root: Path,
        out: Path,
        setting: DataSetting,
        scale: float = 1.0,
        validations: int | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.root = root
        self.out = out
        self.setting = setting
        self.scale = scale
        self.validations = validations
        self.options = dict(options or {})
        self.failures: dict[Point, str] = {}

    def work_dir(self, point: Point) -> Path:
        """Return the folder of a run."""
        return self.out / 'runs' / run_name(point.experiment.folder, point.seed)

    def is_finished(self, point: Point) -> bool:
        """Tell whether a run needs no more training."""
        return (self.work_dir(point) / RESULT).is_file()

    def result(self, point: Point) -> PointResult | None:
        """Read a finished run; None if it is not finished."""
        if not self.is_finished(point):
            return None
        folder = self.work_dir(point)
        outcome = json.loads((folder / RESULT).read_text(encoding='utf-8'))
        return PointResult(point, folder, read_run_log(folder, str(point)), outcome['seconds'])

    def compose(self, experiment: Experiment) -> Config:
        """Compose an experiment's config for this sweep.

        Returns:
            Config: The config.

        Raises:
            PaperSweepError: If it needs gradient sizes that cannot be measured yet.
        """
        factor = 1.0
        if experiment.reading == 'equal-ratio':
            sizes = self.gradient_sizes(experiment.pair)
            if sizes is None:
                raise PaperSweepError(
                    f'{experiment.folder} needs the gradient sizes at the end of the warm start of '
                    f'{gan_ce(experiment.pair).folder}, which has no finished run.'
                )
            factor = sizes.equal_ratio_factor(experiment.name)
        return compose_config(
            self.root / 'configs', self.setting, experiment, self.scale, self.validations, factor, self.options
        )

    def write_config(self, experiment: Experiment) -> Path:
        """Write an experiment's config, and refuse to mix runs of different ones.

        Returns:
            Path: The file.

        Raises:
            PaperSweepError: If runs of this experiment were made with another config.
        """
        path = self.out / 'configs' / f'{experiment.folder}.py'
        text = self.compose(experiment).pretty_text
        if path.is_file() and path.read_text(encoding='utf-8') != text and self._has_runs(experiment):
            raise PaperSweepError(
                f'{self.out} holds runs of {experiment.folder} with another config than now ({path}). Choose another '
                f'--out, or remove {self.out / "runs" / experiment.folder} to run them again.'
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
        return path

    def gradient_sizes(self, pair: str) -> GradientSizes | None:
        """Read or measure the gradient sizes of all losses, on the first finished run of GAN + CE.

        Args:
            pair (str): Pair of data sets.

        Returns:
            GradientSizes | None: The sizes at the end of the warm start; None if there is no such run yet.
        """
        path = self._sizes_file(pair)
        if path.is_file():
            return GradientSizes.load(path)
        baseline = gan_ce(pair)
        runs = sorted((self.out / 'runs' / baseline.folder).glob(f'seed*/{RESULT}'))
        if not runs:
            return None
        config = self.compose(baseline)
        checkpoint = runs[0].parent / f'iter_{warm_start_end(config)}.pth'
        print(f'Measuring gradients on {checkpoint}', flush=True)
        sizes = measure_gradient_sizes(config, checkpoint, main_losses(self.root / 'configs'))
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes.save(path)
        return sizes

    def project(self, points: Sequence[Point]) -> float:
        """Project how long the missing runs take, from finished runs of their kind or a few iterations.

        Args:
            points (Sequence[Point]): The runs.

        Returns:
            float: Seconds.
        """
        seconds: dict[tuple[str, str], float] = {}
        total = 0.0
        for point in points:
            if self.is_finished(point):
                continue
            kind = point.experiment.pair, point.experiment.kind
            if kind not in seconds:
                seconds[kind] = self._seconds_of_kind(point.experiment, points)
            total += seconds[kind]
        return total

    def run(self, points: Sequence[Point], jobs: int = 1, threads: int = 1) -> None:
        """Train the missing runs, and note those that fail in ``failures``.

        What is compared with the gradients of GAN + CE is trained after it.

        Args:
            points (Sequence[Point]): The runs, as :func:`list_points` orders them.
            jobs (int): Runs at once.
            threads (int): Threads of each on the CPU.

        Raises:
            PaperSweepError: If there are runs of these experiments with other configs; before any training.
            SweepStoppedError: If a run was stopped by a signal.
            KeyboardInterrupt: Once the runs under way have saved, if there was one.
        """
        configs = {
            experiment.folder: self.write_config(experiment)
            for experiment in dict.fromkeys(point.experiment for point in points)
            if experiment.reading == 'paper' or self._sizes_file(experiment.pair).is_file()
        }
        for reading in READINGS:
            of_reading = [point for point in points if point.experiment.reading == reading]
            arms: dict[str, Arm] = {}
            for point in of_reading:
                experiment = point.experiment
                if reading == 'equal-ratio' and self.gradient_sizes(experiment.pair) is None:
                    self.failures[point] = 'GAN + CE, whose gradients it is compared with, has no finished run'
                    continue
                if experiment.folder not in configs:
                    configs[experiment.folder] = self.write_config(experiment)
                arms[experiment.folder] = Arm(experiment.folder, configs[experiment.folder])
            if arms:
                self._train(arms, of_reading, jobs, threads)

    def _train(self, arms: Mapping[str, Arm], points: Sequence[Point], jobs: int, threads: int) -> None:
        out = self.out / 'runs'
        sweep = Sweep(tuple(arms.values()), tuple(dict.fromkeys(point.seed for point in points)))
        try:
            with SweepProgress(sweep, out) as progress:
                run_sweep(sweep, out, jobs, keep_weights=True, report=progress.print, commands=LocalCommands(threads))
        except SweepError as error:
            by_run = {(point.experiment.folder, point.seed): point for point in points}
            self.failures |= {by_run[run]: reason for run, reason in error.failures.items()}

    def _sizes_file(self, pair: str) -> Path:
        return self.out / 'gradients' / f'{pair}.json'

    def _has_runs(self, experiment: Experiment) -> bool:
        return any((self.out / 'runs' / experiment.folder).glob('seed*/*'))

    def _seconds_of_kind(self, experiment: Experiment, points: Sequence[Point]) -> float:
        """Project one run: the mean of finished ones of its kind, or from a probe."""
        finished = [
            result.seconds
            for point in points
            if (point.experiment.pair, point.experiment.kind) == (experiment.pair, experiment.kind)
            and (result := self.result(point)) is not None
            and result.seconds is not None
        ]
        if finished:
            return mean(finished)
        config = self.compose(gan_ce(experiment.pair) if experiment.adversarial else experiment)
        speed = measure_speed(config, TRAIN_TOOL, self.out / 'probes' / f'{experiment.pair}_{experiment.kind}')
        return speed.run_seconds(config, count_validation_images(config))
