"""Fetch published weights."""

import os
from urllib.parse import urlparse

import torch
from filelock import FileLock

from cda_mmseg.utils.loading.checksums import hash_in_name
from cda_mmseg.utils.loading.errors import CheckpointError


def is_url(path: str) -> bool:
    """Tell a web address from a file's path.

    Args:
        path (str): Either.

    Returns:
        bool: Whether it begins with ``http://`` or ``https://``.
    """
    return path.startswith(('http://', 'https://'))


def download_checkpoint(url: str) -> str:
    """Fetch a file once and keep it where ``torch.hub`` keeps its own (``$TORCH_HOME/hub/checkpoints``).

    Processes that want the same file at the same time wait for one of them to fetch it. Publishers put the first digits
    of the file's SHA-256 into its name, as in ``vgg16-397923af.pth``; what arrives is compared with them.

    Args:
        url (str): Address beginning with ``http://`` or ``https://``.

    Returns:
        str: Path of the local copy.

    Raises:
        CheckpointError: If it cannot be fetched, or is not the file that its name says; the message says where to put
            the file by hand.
    """
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    name = os.path.basename(urlparse(url).path)
    if not name:
        raise CheckpointError(f'{url} names no file. Give the address of a checkpoint, or a local path.')
    path = os.path.join(folder, name)
    if os.path.isfile(path):
        return path
    try:
        os.makedirs(folder, exist_ok=True)
        with FileLock(f'{path}.lock'):
            if not os.path.isfile(path):
                # it writes beside the target and renames, so a broken transfer leaves nothing under this name
                torch.hub.download_url_to_file(url, path, hash_in_name(name), progress=False)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f'Cannot fetch {url} ({error}). Download it on a machine that can reach it and put it at {path}, '
            'or give the path of a local copy instead.'
        ) from error
    return path
