"""A benchmark that is killed."""

import os
import signal


def rows(device: str = 'cpu') -> list[dict]:
    os.kill(os.getpid(), signal.SIGKILL)
