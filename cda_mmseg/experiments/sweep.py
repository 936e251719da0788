"""Train arms × seeds, some of them from a common warm start, and keep what each scored."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from cda_mmseg.engine.launch_record import describe_machine
from cda_mmseg.experiments.commands import Commands, LocalCommands
from cda_mmseg.utils.arguments import UsageError
from cda_mmseg.utils.folder_lock import locked_folder
from cda_mmseg.visualization.run_log import read_run_log

RESULT = 'result.json'
COMMAND = 'command.txt'
OUTPUT = 'output.txt'
PACKAGE = Path(__file__).resolve().parents[1]
# An installed wheel carries the tools inside the package.
ROOT = PACKAGE.parent if (PACKAGE.parent / 'setup.py').is_file() else PACKAGE / '.mim'
TRAIN_TOOL = ROOT / 'tools' / 'train.py'


class SweepError(RuntimeError):
    """Some runs of a sweep failed; the others went on.

    Args:
        failures: Why each did, by arm and seed.
        runs: How many runs there are.
    """

    def __init__(self, failures: Mapping[tuple[str, int], str], runs: int) -> None:
        reasons = sorted(f'{run_name(arm, seed)}: {reason}' for (arm, seed), reason in failures.items())
        super().__init__(f'{len(failures)} of {runs} runs failed:\n' + '\n'.join(reasons))
        self.failures = failures


def run_name(arm: str, seed: int) -> str:
    """Return the folder of a run below that of its sweep."""
    return f'{arm}/seed{seed}'


class SweepStoppedError(RuntimeError):
    """Some runs of a sweep were stopped and can go on; none failed."""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: Its folder.
        config: Its config file.
        options: Further ``KEY=VALUE`` of ``--cfg-options``.
        branch_from: Another arm and an iteration: each seed starts from that arm's checkpoint of the same seed, as soon
            as it is there.
    """

    name: str
    config: Path
    options: tuple[str, ...] = ()
    branch_from: tuple[str, int] | None = None


@dataclass(frozen=True)
class Sweep:
    """Arms × seeds, the first seed of all arms first.

    Attributes:
        arms: Ways to train.
        seeds: Seeds of each.
        job: What a run asks of a cluster, see :class:`ClusterCommands`.
    """

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    job: Mapping[str, object] = field(default_factory=dict)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file: a Python file with ``seeds`` and ``arms``.

    ``arms`` maps a name to ``dict(config=...)``, with ``options=['KEY=VALUE', ...]`` to lay over it and with
    ``branch_from=(arm, iteration)`` if it goes on from another arm. Configs are relative to the file, and an arm stands
    after the one that it branches from. ``job``, if there is one, is what a run asks of a cluster.

    Raises:
        ValueError: If a key is unknown or has a wrong value, a config is missing, or an arm branches from none that
            stands before it.
    """
    content = Config.fromfile(path)
    if set(content) - {'job'} != {'arms', 'seeds'}:
        raise ValueError(f'{path} must have the keys arms and seeds, and may have job; it has {sorted(content)}.')
    seeds = content.seeds
    if not isinstance(seeds, list | tuple) or not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise ValueError(f'{path}: seeds must be a list of integers, got {seeds!r}.')
    if not isinstance(content.arms, Mapping) or not content.arms:
        raise ValueError(f'{path}: arms must be a dict of arms, got {content.arms!r}.')
    arms: dict[str, Arm] = {}
    for name, entry in content.arms.items():
        if Path(name).name != name:
            raise ValueError(f'{path}: {name!r} cannot be the name of an arm, which is that of its folder.')
        unknown = set(entry) - {'config', 'options', 'branch_from'}
        if unknown or 'config' not in entry:
            raise ValueError(
                f'{path}: arms.{name} needs config, and may have options and branch_from; it has {sorted(entry)}.'
            )
        config = (path.parent / entry['config']).resolve()
        if not config.is_file():
            raise ValueError(f'{path}: arms.{name}.config={entry["config"]!r} is no file in {path.parent}.')
        parent = entry.get('branch_from')
        if parent is not None and (isinstance(parent, str) or [type(part) for part in parent] != [str, int]):
            raise ValueError(f'{path}: arms.{name}.branch_from must be (arm, iteration), got {parent!r}.')
        if parent is not None and parent[0] not in arms:
            raise ValueError(f'{path}: arms.{name} branches from {parent[0]!r}, which must stand before it.')
        options = entry.get('options', [])
        if not isinstance(options, list | tuple) or not all(isinstance(option, str) for option in options):
            raise ValueError(f"{path}: arms.{name}.options must be a list of 'KEY=VALUE', got {options!r}.")
        arms[name] = Arm(name, config, tuple(options), None if parent is None else tuple(parent))
    return Sweep(tuple(arms.values()), tuple(dict.fromkeys(seeds)), content.get('job', {}))


def check_arms(sweep: Sweep, out: Path, **options: str | None) -> None:
    """Refuse options of the command line that name an arm which is neither in a sweep nor finished in its folder.

    Raises:
        UsageError: If there is one.
    """
    known = dict.fromkeys([*(arm.name for arm in sweep.arms), *read_results(out)])
    for option, arm in options.items():
        if arm not in (None, *known):
            raise UsageError(f'--{option} must be one of the arms {", ".join(known)}, got {arm!r}.')


def run_sweep(
    sweep: Sweep,
    out: Path,
    jobs: int = 1,
    keep_weights: bool = False,
    report: Callable[[str], None] = print,
    commands: Commands | None = None,
) -> None:
    """Train what is not finished yet, some runs at once.

    A run is finished when its ``result.json`` is there: config, options, seed, commit, machine, all scores, and its
    seconds unless it was interrupted.
    The same call goes on after any interruption; a run that was under way resumes from its own checkpoint.

    Args:
        sweep (Sweep): What to train.
        out (Path): Folder of the sweep; a run's is ``out/<arm>/seed<seed>``.
        jobs (int): Runs at once.
        keep_weights (bool): Whether checkpoints stay that no arm branches from.
        report (Callable): Takes a line for each run as it ends.
        commands (Commands | None): Where they run; by default here, with one thread each.

    Raises:
        ValueError: Before anything is trained, if a finished run is one of another config, options or branch.
        SweepError: At the end, if a run failed; names them.
        SweepStoppedError: At the end, if none failed and a run was stopped by a signal.
        KeyboardInterrupt: Once the runs under way have saved, if there was one.
    """
    commands = commands or LocalCommands()
    failures: dict[tuple[str, int], str] = {}
    stopped: list[str] = []
    for seed in sweep.seeds:
        for arm in sweep.arms:
            result = out / run_name(arm.name, seed) / RESULT
            if result.is_file():
                _check_same(arm, result)
    with locked_folder(str(out), '--out'), ThreadPoolExecutor(jobs) as pool, _ended_on_interrupt(pool, commands):
        done: dict[tuple[str, int], Future] = {}
        for seed in sweep.seeds:
            for arm in sweep.arms:
                parent = None if arm.branch_from is None else done[arm.branch_from[0], seed]
                kept = {other.branch_from[1] for other in sweep.arms if (other.branch_from or ('',))[0] == arm.name}
                done[arm.name, seed] = pool.submit(
                    _train, arm, seed, out, parent, None if keep_weights else kept, commands
                )
        runs = {future: run for run, future in done.items()}
        for future in as_completed(runs):
            error, name = future.exception(), run_name(*runs[future])
            if error is None:
                report(f'{name}: {future.result()}')
            elif isinstance(error, SweepStoppedError):
                report(f'{name}: {error}')
                stopped.append(f'{name}: {error}')
            else:
                report(f'{name}: failed, {error}')
                failures[runs[future]] = str(error)
    if failures:
        raise SweepError(failures, len(done))
    if stopped:
        raise SweepStoppedError(f'{len(stopped)} of {len(done)} runs were stopped:\n' + '\n'.join(sorted(stopped)))


@contextmanager
def _ended_on_interrupt(pool: ThreadPoolExecutor, commands: Commands) -> Iterator[None]:
    """Begin no further run after Ctrl-C, and let those under way save."""
    try:
        yield
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        commands.stop()
        raise


def _train(arm: Arm, seed: int, out: Path, parent: Future | None, kept: set[int] | None, commands: Commands) -> str:
    """Train one run, keep its scores, and remove weights that nobody branches from; return a line."""
    work_dir = out / run_name(arm.name, seed)
    if (work_dir / RESULT).is_file():
        return 'finished before'
    command = [sys.executable, str(TRAIN_TOOL), str(arm.config), '--work-dir', str(work_dir), '--seed', str(seed)]
    command += ['--resume']
    if arm.branch_from is not None:
        start = out / run_name(arm.branch_from[0], seed) / f'iter_{arm.branch_from[1]}.pth'
        while not start.is_file() and wait([parent], timeout=1).not_done:
            pass
        if not start.is_file():
            if error := parent.exception():
                kind = SweepStoppedError if isinstance(error, SweepStoppedError) else RuntimeError
                raise kind(f'{arm.branch_from[0]}, from which it branches, did not get there')
            raise FileNotFoundError(f'there is no {start} to branch from; let its config save that iteration')
        command += ['--branch-from', str(start)]
    if arm.options:
        command += ['--cfg-options', *arm.options]
    work_dir.mkdir(parents=True, exist_ok=True)
    (work_dir / COMMAND).write_text(shlex.join(command) + '\n')
    is_resumed = any(work_dir.glob('iter_*.pth'))
    begin = time.monotonic()
    code = commands.run(command, work_dir / OUTPUT)
    if code == os.EX_TEMPFAIL:
        raise SweepStoppedError('stopped by a signal, and saved; the same command goes on')
    if code:
        raise RuntimeError(f'exit code {code}, see {work_dir / OUTPUT}')
    seconds = round(time.monotonic() - begin)
    _write_result(arm, seed, work_dir, None if is_resumed else seconds)
    for path in work_dir.glob('*.pth'):
        if kept is not None and path.name not in {f'iter_{iteration}.pth' for iteration in kept}:
            path.unlink()
    return f'finished in {seconds} s'


def _check_same(arm: Arm, path: Path) -> None:
    """Refuse the result of an arm that was another one; the folder of its config may have moved."""
    found = json.loads(path.read_text())
    for key, wanted in dict(config=arm.config.name, options=arm.options, branch_from=arm.branch_from).items():
        kept = Path(found[key]).name if key == 'config' else found[key] and tuple(found[key])
        if (kept or None) != (wanted or None):
            raise ValueError(
                f'{path} is of {key}={kept!r}, but the arm has {key}={wanted!r} now. Give the arm another name, or '
                'remove its folder.'
            )


def _write_result(arm: Arm, seed: int, work_dir: Path, seconds: int | None) -> None:
    log = read_run_log(work_dir)
    scores = {
        name: dict(zip(map(int, s.steps), map(float, s.values), strict=True)) for name, s in log.validation.items()
    }
    commit = subprocess.run(
        ['git', '-C', str(TRAIN_TOOL.parent), 'rev-parse', '--short', 'HEAD'],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    result = dict(
        arm=arm.name,
        config=str(arm.config),
        options=arm.options,
        seed=seed,
        branch_from=arm.branch_from,
        commit=commit,
        machine=describe_machine(),
        seconds=seconds,
        scores=scores,
    )
    incomplete = work_dir / f'{RESULT}.incomplete'
    incomplete.write_text(json.dumps(result, indent=1) + '\n')
    incomplete.replace(work_dir / RESULT)


def read_results(out: Path) -> dict[str, dict[int, Mapping[str, dict[str, float]]]]:
    """Read the scores of all finished runs: arm → seed → score → iteration → value."""
    results: dict[str, dict[int, Mapping]] = {}
    for path in sorted(out.glob(f'*/seed*/{RESULT}')):
        content = json.loads(path.read_text())
        results.setdefault(content['arm'], {})[content['seed']] = content['scores']
    return results
