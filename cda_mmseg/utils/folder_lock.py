"""Let one process at a time write into a folder."""

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import print_log

LOCK_NAME = '.lock'


@contextmanager
def locked_folder(folder: str, option: str) -> Iterator[None]:
    """Keep every other process that asks for the same lock out of a folder; made if it is not there.

    The operating system gives the lock back when this process ends, however it ends. It is a POSIX record lock, which
    forked children do not share: data loader workers that outlive their killed parent for some seconds hold nothing.
    The file ``.lock`` stays, because removing it could part two processes that wait for it.

    Args:
        folder: The folder.
        option: What the user can set to get another folder, such as ``--work-dir``.

    Raises:
        BlockingIOError: If another process has the lock; names the folder and that process.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, LOCK_NAME)
    with open(path, 'a+', encoding='utf-8') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                holder = file.read().strip() or 'another process'
                raise BlockingIOError(
                    f'{folder} is in use by {holder}, and two runs in one folder would overwrite each other. Wait for '
                    f'that one, stop it, or choose another folder with {option}.'
                ) from None
            # some network file systems have no locks
            print_log(
                f'Cannot lock {path} ({error}): a second run in this folder would go unnoticed.',
                logger='current',
                level=logging.WARNING,
            )
        else:
            file.truncate(0)
            began = time.strftime('%Y-%m-%d %H:%M:%S')
            file.write(f'process {os.getpid()} on {socket.gethostname()} (since {began})\n')
            file.flush()
        yield
