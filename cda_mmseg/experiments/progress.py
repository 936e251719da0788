"""Show how far the runs of a sweep are."""

import re
import threading
from pathlib import Path
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cda_mmseg.experiments.sweep import RESULT, Sweep, run_name


class SweepProgress:
    """Draw a bar for all runs and one for each under way, while its block is entered.

    Args:
        sweep (Sweep): What is trained.
        out (Path): Folder of the sweep.
    """

    INTERVAL = 1.0

    def __init__(self, sweep: Sweep, out: Path) -> None:
        self._folders = [out / run_name(arm.name, seed) for seed in sweep.seeds for arm in sweep.arms]
        self._out = out
        self._bars: dict[Path, TaskID] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        name = TextColumn('{task.description}', markup=False)
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns)
        self._runs = self._progress.add_task('runs', total=len(self._folders))

    def __enter__(self) -> 'SweepProgress':
        """Begin to draw."""
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Draw the last state."""
        self._ended.set()
        self._thread.join()
        self._draw()
        self._progress.stop()

    def print(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def tasks(self) -> list[str]:
        """list[str]: What has a bar."""
        return [task.description for task in self._progress.tasks]

    def _watch(self) -> None:
        while not self._ended.wait(self.INTERVAL):
            self._draw()

    def _draw(self) -> None:
        finished = [(folder / RESULT).is_file() for folder in self._folders]
        for folder, is_finished in zip(self._folders, finished, strict=True):
            if is_finished:
                if (bar := self._bars.pop(folder, None)) is not None:
                    self._progress.remove_task(bar)
            elif position := last_position(folder):
                iteration, length = position
                if folder not in self._bars:
                    self._bars[folder] = self._progress.add_task(str(folder.relative_to(self._out)), total=length)
                self._progress.update(self._bars[folder], completed=iteration)
        self._progress.update(self._runs, completed=sum(finished))


POSITION = re.compile(r'Iter\(train\) \[ *(\d+)/(\d+)\]')


def last_position(work_dir: Path) -> tuple[int, int] | None:
    """Read the last iteration that a run has logged, and of how many; None before the first.

    The log is text: the config beside it is a program, which nobody should run to draw a bar.
    """
    for log in sorted(work_dir.glob('*/*.log'), reverse=True):
        if found := POSITION.findall(log.read_text(errors='replace')):
            iteration, length = found[-1]
            return int(iteration), int(length)
    return None
