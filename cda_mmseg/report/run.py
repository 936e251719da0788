"""What the folder of a run tells about it, however it ended."""

import json
import os
import re
import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mmengine.config import Config

from cda_mmseg.engine.checkpointing.resume_point import checkpoint_folder, checkpoint_names, out_dir_of
from cda_mmseg.engine.launch_record import RECORD
from cda_mmseg.visualization.run_log import RunLog, read_run_log

_TIME = re.compile(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', re.MULTILINE)
_SOURCE = re.compile(r' - source\w* \(\d+ images[^;\n]*; (?:mean of [^;\n]*; )?(.+)\): ')
_ERROR = re.compile(r'The run ends with an error\.\n((?:.*\n)*?)(?=\d{4}/\d\d/\d\d |\Z)')


@dataclass(frozen=True)
class Launch:
    """One start of a run.

    Attributes:
        begin: When it began.
        duration: From the first line of its log to the last.
        record: What :func:`~cda_mmseg.engine.launch_record.describe_launch` wrote; empty for a run of another program.
        ending: How it ended before the run was over, as its log says; empty if it does not.
    """

    begin: datetime
    duration: timedelta
    record: dict
    ending: str


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: What it is called; runs of one name differ in their seeds.
        work_dir: Its folder.
        config: Its config, with what the command line changed.
        log: Its scores and losses.
        launches: Its starts, in order.
        source_note: What its log says of the source's images, such as 'seen in training'.
        checkpoint: The newest one.
    """

    name: str
    work_dir: Path
    config: Config
    log: RunLog
    launches: tuple[Launch, ...]
    source_note: str
    checkpoint: Path | None

    @property
    def seed(self) -> int | None:
        """Int | None: The seed, if it is known."""
        recorded = next((launch.record['seed'] for launch in self.launches if launch.record), None)
        return (self.config.get('randomness') or {}).get('seed', recorded)

    @property
    def title(self) -> str:
        """str: Name and seed."""
        return self.name if self.seed is None else f'{self.name}, seed {self.seed}'

    @property
    def iterations(self) -> int:
        """int: Iterations trained, as far as log and checkpoint know."""
        series = [*self.log.training.values(), *self.log.validation.values()]
        saved = re.search(r'\d+', self.checkpoint.stem) if self.checkpoint else None
        return max([0, *(int(one.steps[-1]) for one in series), *([int(saved[0])] if saved else [])])

    @property
    def max_iters(self) -> int | None:
        """Int | None: Length of the whole run."""
        return (self.config.get('train_cfg') or {}).get('max_iters')

    @property
    def is_finished(self) -> bool:
        """bool: Whether it has been trained to its end."""
        return self.max_iters is not None and self.iterations >= self.max_iters

    @property
    def state(self) -> str:
        """str: How far it is."""
        if self.is_finished:
            return f'finished, {self.iterations} iterations'
        ending = self.launches[-1].ending.rstrip('.') if self.launches else ''
        reason = ending or 'killed, or still running'
        return f'unfinished, {self.iterations} of {self.max_iters} iterations: {reason}'


def default_name(work_dir: str | Path) -> str:
    """Name a run after its folder, or, where that is ``seed3``, as in a sweep, after the one above."""
    folder = Path(work_dir).resolve()
    return folder.parent.name if re.fullmatch(r'seed_?\d+', folder.name) else folder.name


def named_folder(argument: str) -> tuple[str, str]:
    """Split ``[NAME=]WORK_DIR``, in which the folder may have a ``=`` of its own."""
    name, is_named, folder = argument.partition('=')
    if not is_named or os.path.isdir(os.path.expanduser(argument)):
        folder = os.path.expanduser(argument)
        return default_name(folder), folder
    return name, os.path.expanduser(folder)


def read_run(name: str, work_dir: Path) -> Run:
    """Read a run's folder.

    Args:
        name: What to call it.
        work_dir: The folder. The config in it is started as a program.

    Raises:
        FileNotFoundError: If it is not the folder of a run.
    """
    configs = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not configs:
        raise FileNotFoundError(
            f'{work_dir} is not the folder of a run: it does not hold the config that each run writes there.'
        )
    config = Config.fromfile(configs[-1])
    is_logged = any(work_dir.glob('*/vis_data/scalars.json'))
    logs = [path for path in sorted(work_dir.glob('*/*.log')) if path.stem == path.parent.name and not _is_test(path)]
    notes = [note for path in logs for note in _SOURCE.findall(path.read_text(encoding='utf-8', errors='replace'))]
    folder = checkpoint_folder(str(work_dir), out_dir_of(config))
    return Run(
        name,
        work_dir,
        config,
        read_run_log(work_dir, name) if is_logged else RunLog(name, {}, {}),
        tuple(launch for path in logs if (launch := _read_launch(path))),
        notes[-1] if notes else '',
        next((Path(folder, name) for name in checkpoint_names(folder)), None),
    )


def _read_launch(log: Path) -> Launch | None:
    text = log.read_text(encoding='utf-8', errors='replace')
    times = [datetime.strptime(time, '%Y/%m/%d %H:%M:%S') for time in _TIME.findall(text)]
    if not times:
        return None
    errors = _ERROR.findall(text)
    ending = errors[-1].strip().splitlines()[-1] if errors else ''
    if 'Stopped by a signal after' in text:
        ending = 'stopped by a signal, and saved'
    return Launch(times[0], times[-1] - times[0], _read_record(log), ending)


def _is_test(log: Path) -> bool:
    """Tell whether a log in a run's folder is of a test, whose command trained nothing."""
    parts = shlex.split(_read_record(log).get('command', ''))
    return Path(next((part for part in parts if part.endswith('.py')), '')).name == 'test.py'


def _read_record(log: Path) -> dict:
    record = log.with_name(RECORD)
    return json.loads(record.read_text(encoding='utf-8')) if record.is_file() else {}
