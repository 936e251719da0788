"""Reading a file of initial weights."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_rank
from torch import Tensor
from torch.hub import HASH_REGEX, download_url_to_file, get_dir

CONFIG_KEY = 'model.backbone.init_cfg.checkpoint'


def read_weights(checkpoint: str, prefix: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a weight file without executing anything in it.

    A URL is downloaded once into torch's cache (``$TORCH_HOME/hub/checkpoints``, by rank 0 first) and checked against
    the hash in its file name, if there is one.

    Args:
        checkpoint (str): Path of a file written by ``torch.save``, or its http(s) URL. The file holds a state dict, or
            a checkpoint with a state dict under ``'state_dict'``.
        prefix (str, optional): Take only the keys that start with this, and cut it off, e.g. ``'backbone.'``.

    Returns:
        dict[str, Tensor]: The tensors, on the CPU, in the file's dtypes.

    Raises:
        FileNotFoundError: If the file does not exist or cannot be downloaded.
        ValueError: If the file is damaged, holds anything but plain data, or has no tensors (under ``prefix``).
    """
    path = _download(checkpoint) if checkpoint.startswith(('http://', 'https://')) else Path(checkpoint).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'The file of initial weights {path} does not exist. '
            f'Set the config key {CONFIG_KEY} to an existing file or an http(s) URL.'
        )
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f'The file of initial weights {path} is damaged or holds more than tensors: {str(error).splitlines()[0]} '
            f'Replace the file, or set the config key {CONFIG_KEY} to another one.'
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get('state_dict'), Mapping):
        content = content['state_dict']
    weights = {}
    if isinstance(content, Mapping):
        start = prefix or ''
        weights = {
            key[len(start) :]: value
            for key, value in content.items()
            if isinstance(value, Tensor) and key.startswith(start)
        }
    if not weights:
        place = f' under the prefix {prefix!r}' if prefix else ''
        raise ValueError(
            f'The file of initial weights {path} has no tensors{place}: a state dict with names was expected. '
            f'Set the config key {CONFIG_KEY} to another file.'
        )
    return weights


def _download(url: str) -> Path:
    """Fetch a URL into torch's cache, unless it is there."""
    target = Path(get_dir()) / 'checkpoints' / os.path.basename(urlparse(url).path)
    try:
        if get_rank() == 0:
            _fetch_missing(url, target)
    finally:
        # The other ranks wait for rank 0 also when it fails; on machines without its cache they fetch their own copy.
        barrier()
    _fetch_missing(url, target)
    return target


def _fetch_missing(url: str, target: Path) -> None:
    if target.is_file():
        return
    published_hash = HASH_REGEX.search(target.name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(url, str(target), published_hash.group(1) if published_hash else None)
    except (OSError, RuntimeError, ValueError) as error:
        raise FileNotFoundError(
            f'The initial weights {url} could not be downloaded ({error}). Fetch the file by other means and put it '
            f'at {target}, or set the config key {CONFIG_KEY} to the path of a copy.'
        ) from error
