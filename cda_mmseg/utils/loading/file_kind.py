"""Say what stands where a file was expected; nothing is opened, because a named pipe would be waited for."""

import os
import stat


def kind_of_file(path: str) -> str:
    """Describe what a path leads to, for errors about something that is no ordinary file."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f'a link to {os.readlink(path)} ({error.strerror})' if os.path.islink(path) else f'{error.strerror}'
    for is_kind, name in (
        (stat.S_ISDIR, 'a folder'),
        (stat.S_ISFIFO, 'a named pipe'),
        (stat.S_ISSOCK, 'a socket'),
        (stat.S_ISREG, 'a file'),
    ):
        if is_kind(mode):
            return name
    return 'a device'
