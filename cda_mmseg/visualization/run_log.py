"""Read back the scores and losses that mmengine logged during a training run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

Records = dict[str, dict[int, float]]


class Point(NamedTuple):
    """One logged value.

    Attributes:
        step (int): Training iterations done when it was logged.
        value (float): The value.
    """

    step: int
    value: float


@dataclass(frozen=True)
class Series:
    """Hold what was logged under one name, ordered by step.

    Attributes:
        steps (np.ndarray): int64, shape (n,), strictly increasing.
        values (np.ndarray): float64, shape (n,); NaN where there was nothing to score.
    """

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class RunLog:
    """Hold the log of one training run.

    Attributes:
        name (str): Name of the run in tables and figures.
        training (Mapping[str, Series]): What the training iterations logged, by name.
        validation (Mapping[str, Series]): What the validations logged, by name, such as ``target/mIoU``.
    """

    name: str
    training: Mapping[str, Series]
    validation: Mapping[str, Series]

    def last(self, score: str) -> Point | None:
        """Return the score of the last snapshot.

        Args:
            score (str): Name of a validation score.

        Returns:
            Point | None: Step and value; None if the run never logged this score.
        """
        series = self.validation.get(score)
        return Point(int(series.steps[-1]), float(series.values[-1])) if series else None

    def best(self, score: str) -> Point | None:
        """Return the highest score of all snapshots, the earliest of equals.

        For a target score this is an oracle: it chooses the snapshot by the target's labels.

        Args:
            score (str): Name of a validation score.

        Returns:
            Point | None: Step and value; None if the run never logged a number under this name.
        """
        series = self.validation.get(score)
        if series is None or np.isnan(series.values).all():
            return None
        index = int(np.nanargmax(series.values))
        return Point(int(series.steps[index]), float(series.values[index]))

    def at(self, score: str, step: int) -> float | None:
        """Return the score of one snapshot.

        Args:
            score (str): Name of a validation score.
            step (int): Step of the snapshot.

        Returns:
            float | None: The value; None if the score was not logged at this step.
        """
        series = self.validation.get(score)
        matches = np.flatnonzero(series.steps == step) if series else []
        return float(series.values[matches[0]]) if len(matches) else None


def read_run_log(work_dir: str | Path, name: str | None = None) -> RunLog:
    """Read the scalars of a run, all launches of a resumed one together.

    mmengine opens a new folder ``<timestamp>/vis_data`` at each launch. A launch that resumed from a checkpoint repeats
    the steps after it: everything that earlier launches logged from its first training step on is superseded, and of
    values with the same step the later launch's counts. A last line that a killed process left half-written is ignored.

    Args:
        work_dir (str | Path): The run's ``work_dir``, or one ``scalars.json``.
        name (str | None): Name of the run; the folder's name by default.

    Returns:
        RunLog: All series.

    Raises:
        FileNotFoundError: If there is no ``scalars.json``.
        ValueError: If a line is not a JSON object with a step; names file and line.
    """
    work_dir = Path(work_dir)
    files = [work_dir] if work_dir.is_file() else sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f'{work_dir} has no <timestamp>/vis_data/scalars.json: it is not the work_dir of a run')
    training: Records = {}
    validation: Records = {}
    for file in files:
        launch = _read_launch(file)
        first_step = min((record['step'] for record in launch if 'iter' in record), default=None)
        if first_step is not None:
            for records in (training, validation):
                _drop_from(records, first_step)
        for record in launch:
            # mmengine writes `iter` with training records only.
            records = training if 'iter' in record else validation
            for key, value in record.items():
                if key not in ('step', 'iter', 'epoch') and isinstance(value, int | float):
                    records.setdefault(key, {})[record['step']] = float(value)
    return RunLog(name or work_dir.name, _to_series(training), _to_series(validation))


def _read_launch(file: Path) -> list[dict]:
    """Parse one file of JSON lines."""
    lines = file.read_text(encoding='utf-8').split('\n')
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            # Only the last line of a killed process lacks its line break.
            if number == len(lines):
                break
            raise ValueError(f'{file}, line {number} is not JSON: {error}') from error
        if not isinstance(record, dict) or 'step' not in record:
            raise ValueError(f'{file}, line {number} is not a record with a step: {line[:80]!r}')
        records.append(record)
    return records


def _drop_from(records: Records, first_step: int) -> None:
    """Remove everything logged at ``first_step`` or later."""
    for key, values in records.items():
        records[key] = {step: value for step, value in values.items() if step < first_step}


def _to_series(records: Records) -> dict[str, Series]:
    """Order every name's values by step."""
    return {
        key: Series(np.array(sorted(values), dtype=np.int64), np.array([values[step] for step in sorted(values)]))
        for key, values in records.items()
        if values
    }
