"""Notice that the process which started this one is gone."""

import os
import signal
import threading
import time

CHECK_INTERVAL = 1.0


def stop_with_parent() -> None:
    """Send SIGTERM to this process when its parent has ended.

    ``kill -9`` of torchrun leaves its processes behind, which would train on without anybody to watch them. SIGTERM
    lets a run save and exit (``StopHook``), and ends anything else at once.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_INTERVAL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name='parent watcher', daemon=True).start()
