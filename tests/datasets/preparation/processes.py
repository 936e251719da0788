"""Prepare copies in processes of their own that begin with everything imported, and that something happens to."""

import os
import resource
import runpy
import signal
import sys
from collections.abc import Callable
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import cv2

from cda_mmseg.datasets.preparation import prepare

ROOT = Path(__file__).resolve().parents[3]
TOOL = str(ROOT / 'tools' / 'prepare_data.py')
# A fork of the process that runs the tests may hang: it runs threads.
CONTEXT = get_context('forkserver')


def start(function: Callable, *arguments: object) -> ForkServerProcess:
    """Start a function of this file in a process of its own."""
    former = os.environ.get('PYTHONPATH')
    # Python 3.11's server takes no notice of sys.path, and skips what it cannot import.
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(ROOT), former]))
    CONTEXT.set_forkserver_preload(['cda_mmseg.registration', __name__])
    forkserver.ensure_running()
    if former is None:
        del os.environ['PYTHONPATH']
    else:
        os.environ['PYTHONPATH'] = former
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


def _quietly(line: str) -> None:
    pass


def prepare_and_die(config: dict, out: str, event: str, ending: str, count: int) -> None:
    """Be killed at the count-th audit event about a path that ends so."""

    def kill(happening: str, arguments: tuple) -> None:
        nonlocal count
        if happening == event and str(arguments[0]).endswith(ending):
            count -= 1
            if count == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    cv2.setNumThreads(1)
    prepare(config, out, report=_quietly)


def prepare_with_small_files(config: dict, out: str, message: str) -> None:
    """No file may grow beyond 4 KiB, as on a disk that is full; the error ends up in the file ``message``."""
    Path(message).touch()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    cv2.setNumThreads(1)
    try:
        prepare(config, out, report=_quietly)
    except OSError as error:
        Path(message).write_text(str(error))


def run_tool(folder: str, output: str, arguments: list[str]) -> None:
    """Run tools/prepare_data.py in a folder; what it says ends up in the file ``output``."""
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    cv2.setNumThreads(1)
    sys.argv = [TOOL, *arguments]
    runpy.run_path(TOOL, run_name='__main__')
