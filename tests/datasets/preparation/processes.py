"""What processes of their own do: prepare copies, while something happens to them."""

import os
import resource
import runpy
import signal
import sys
from pathlib import Path

import cv2

from cda_mmseg.datasets.preparation import prepare
from tests.forked_processes import ROOT

TOOL = str(ROOT / 'tools' / 'prepare_data.py')


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
