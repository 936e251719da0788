"""Where the commands of a sweep run: as processes of this machine, or as jobs of a cluster."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Commands(Protocol):
    """Run commands, from several threads at once."""

    def run(self, command: Sequence[str], output: Path) -> int:
        """Run a command, append what it prints to a file, and return its exit code."""

    def stop(self) -> None:
        """Ask the commands under way to save and end."""


class LocalCommands:
    """Run each command as a process, which ends when this one is gone.

    Args:
        threads: Threads of each on the CPU.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._running: set[subprocess.Popen] = set()

    def run(self, command: Sequence[str], output: Path) -> int:
        """Run a command here."""
        with open(output, 'a') as file:
            child = subprocess.Popen(
                [*command, '--stop-with-parent'],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'OMP_NUM_THREADS': str(self._threads)},
            )
        self._running.add(child)
        try:
            return child.wait()
        finally:
            self._running.discard(child)

    def stop(self) -> None:
        """Send SIGTERM to all."""
        for child in tuple(self._running):
            child.terminate()


class ClusterCommands:
    """Run each command as a job that submitit submits and waits for.

    Args:
        folder: Where submitit keeps its files; all machines must see it.
        cluster: 'slurm', or 'local' for processes that stand for jobs.
        parameters: What a job asks for, as ``submitit.AutoExecutor.update_parameters`` takes it: ``timeout_min``,
            ``cpus_per_task``, ``gpus_per_node``, ``slurm_partition`` …

    Raises:
        ImportError: If submitit is not installed.
    """

    def __init__(self, folder: Path, cluster: str, parameters: Mapping[str, object]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise ImportError('A sweep on a cluster needs submitit: pip install "cda_mmseg[cluster]".') from error
        self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        self._executor.update_parameters(**parameters)
        self._jobs: set = set()

    def run(self, command: Sequence[str], output: Path) -> int:
        """Submit a command, from the current folder, and wait for its job."""
        job = self._executor.submit(_append_output, list(command), str(output), os.getcwd())
        self._jobs.add(job)
        try:
            return job.result()
        finally:
            self._jobs.discard(job)

    def stop(self) -> None:
        """Cancel all jobs; their runs go on from the last checkpoint."""
        for job in tuple(self._jobs):
            job.cancel()


def _append_output(command: list[str], output: str, folder: str) -> int:
    with open(output, 'a') as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, check=False).returncode
