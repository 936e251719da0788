"""Start functions in processes of their own that begin with everything imported.

They are forked from a server, because a fork of the process that runs the tests may hang: it runs threads.
"""

import gc
import os
from collections.abc import Callable
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

# What runs import late, so that children need not.
import matplotlib.pyplot  # noqa: F401
import mmengine.runner  # noqa: F401

import cda_mmseg.registration  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
CONTEXT = get_context('forkserver')

# mmengine collects garbage for every data set; what is imported stays anyway.
gc.freeze()


def start_process(function: Callable, *arguments: object) -> ForkServerProcess:
    """Start a function, of a module's top, in a process of its own."""
    former = os.environ.get('PYTHONPATH')
    # Python 3.11's server takes no notice of sys.path, and skips what it cannot import.
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(ROOT), former]))
    CONTEXT.set_forkserver_preload([__name__])
    forkserver.ensure_running()
    if former is None:
        del os.environ['PYTHONPATH']
    else:
        os.environ['PYTHONPATH'] = former
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process
