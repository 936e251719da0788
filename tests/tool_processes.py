"""Run tools/train.py in processes of its own that begin with everything imported, and end them at chosen moments."""

import ctypes
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.forked_processes import ROOT, start_process

SMOKE = str(ROOT / 'configs' / 'smoke' / 'cl_gta2city.py')
PR_SET_PDEATHSIG = 1


def options(workers: int = 0, **changes: object) -> list[str]:
    """Write changes of config keys, dots as double underscores, as the tool takes them."""
    values = {f'{name}_dataloader.num_workers': workers for name in ('train', 'target', 'val', 'test')}
    values |= {f'{name}_dataloader.persistent_workers': workers > 0 for name in ('train', 'target', 'val', 'test')}
    values |= {'default_hooks.logger.interval': 1} | {key.replace('__', '.'): value for key, value in changes.items()}
    return ['--cfg-options', *(f'{key}={value}' for key, value in values.items())]


def _die_at(event: str, ending: str, witness: str | None) -> None:
    """Have this process killed at an audit event about a path that ends so, once the file ``witness`` is there."""

    def kill(happening: str, arguments: tuple) -> None:
        if happening == event and str(arguments[0]).endswith(ending) and (witness is None or os.path.exists(witness)):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)


def record_opens(listing: str) -> None:
    """Write down every file that this process and those forked from it open, as lines of process id and path."""
    descriptor = os.open(listing, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def record(event: str, arguments: tuple) -> None:
        if event == 'open':
            os.write(descriptor, f'{os.getpid()} {arguments[0]}\n'.encode())

    sys.addaudithook(record)


def _child(
    output: str, folder: str, arguments: list[str], death: tuple | None, prepare: Callable[[], None] | None
) -> None:
    # No child outlives the tests.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    if death is not None:
        _die_at(*death)
    if prepare is not None:
        prepare()
    sys.argv = [str(ROOT / 'tools' / 'train.py'), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def start_tool(
    work_dir: Path,
    folder: Path,
    *arguments: str,
    config: str = SMOKE,
    death: tuple | None = None,
    prepare: Callable[[], None] | None = None,
) -> ForkServerProcess:
    """Start ``tools/train.py CONFIG --work-dir WORK_DIR ARGUMENTS`` in a folder; its output ends up in WORK_DIR.txt."""
    command = [config, '--work-dir', str(work_dir), *arguments]
    return start_process(_child, f'{work_dir}.txt', str(folder), command, death, prepare)


def finish_tool(process: ForkServerProcess, timeout: float = 600) -> int:
    """Wait for a process and return its exit code."""
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise TimeoutError('The tool did not end.')
    return process.exitcode


def output_of(work_dir: Path) -> str:
    """Read what the tool wrote in all its runs in this folder."""
    return Path(f'{work_dir}.txt').read_text()


def wait_until(condition: Callable[[], bool], process: ForkServerProcess, timeout: float = 900) -> bool:
    """Wait for a condition; tell whether it came true while the process was running."""
    deadline = time.monotonic() + timeout
    while not condition():
        if not process.is_alive():
            return False
        if time.monotonic() > deadline:
            raise TimeoutError('It did not come true.')
        time.sleep(0.0005)
    return True
