"""Read checkpoints without running what they carry."""

import os
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_deprecated_model_names, get_external_models, get_torchvision_models

from cda_mmseg.engine.checkpointing.allow_list import only_allowed_globals
from cda_mmseg.engine.checkpointing.download import download_checkpoint, is_url
from cda_mmseg.engine.checkpointing.errors import CheckpointError, UnreadableCheckpointError, UntrustedCheckpointError

MapLocation = str | torch.device | dict[str, str] | Callable | None


def load_checkpoint_file(path: str, map_location: MapLocation = 'cpu', trusted: bool = False) -> dict[str, Any]:
    """Read a checkpoint, and refuse one that would run code.

    Args:
        path (str): A file, or the ``http(s)://`` address of one, which is fetched once and kept.
        map_location (str | torch.device | dict | Callable | None): Where tensors go, as in :func:`torch.load`.
        trusted (bool): Read the file as the program that any pickle is. For files of your own only.

    Returns:
        dict: What the file holds: a state dict, or a dictionary with one under ``state_dict``.

    Raises:
        FileNotFoundError: If there is no such file.
        UntrustedCheckpointError: If the file would run code; none of it has run.
        UnreadableCheckpointError: If it is empty, truncated, damaged, no checkpoint, or holds no dictionary.
        CheckpointError: If the address cannot be fetched.
    """
    return read_checkpoint(path, map_location, trusted, mmap=False)


def read_checkpoint(path: str, map_location: MapLocation, trusted: bool, mmap: bool) -> dict[str, Any]:
    """Read a checkpoint as :func:`load_checkpoint_file` does, tensors on demand if asked to.

    Args:
        path (str): A file or an ``http(s)://`` address.
        map_location (str | torch.device | dict | Callable | None): Where tensors go.
        trusted (bool): Whether code in the file may run.
        mmap (bool): Map tensors to the file instead of reading them. Zip files only.

    Returns:
        dict: What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        UntrustedCheckpointError: If the file would run code.
        UnreadableCheckpointError: If it cannot be read.
        CheckpointError: If the address cannot be fetched.
    """
    path = download_checkpoint(path) if is_url(path) else os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no checkpoint {path}. Check the path.')
    size = os.path.getsize(path)
    if size == 0:
        raise UnreadableCheckpointError(f'{path} is empty (0 bytes). Copy or download it again, or use another file.')
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
        raise UnreadableCheckpointError(
            f'{path} ({size} bytes) cannot be read as a checkpoint ({_reason(error)}). It is truncated, damaged or '
            'a file of another kind: copy or download it again, or use another file.'
        ) from error
    if not isinstance(checkpoint, dict):
        raise UnreadableCheckpointError(
            f'{path} holds a {type(checkpoint).__name__} instead of a dictionary of weights. Save model.state_dict().'
        )
    return checkpoint


def install_safe_loader(trusted: bool = False) -> None:
    """Let MMEngine read every checkpoint of this process through :func:`load_checkpoint_file`.

    MMEngine's loader is one for the whole process, so this changes it for all code that runs in it. Our tools call it
    first thing; importing the package does not. Resuming, ``load_from``, ``Pretrained`` weights and backbones that load
    their own all go through that loader. Schemes without a public address list (``s3://``, ``pavi://``, ...) would read
    around ours and are refused.

    Args:
        trusted (bool): Read files as the programs that pickles are. For files of your own only.
    """

    def load_from_safe_file(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
        return load_checkpoint_file(filename, map_location, trusted)

    def load_from_safe_torchvision(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
        return load_checkpoint_file(_published_address(filename, get_torchvision_models()), map_location, trusted)

    def load_from_safe_openmmlab(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
        renamed = get_deprecated_model_names()
        scheme, name = filename.split('://', 1)
        address = _published_address(f'{scheme}://{renamed.get(name, name)}', get_external_models())
        return load_checkpoint_file(address, map_location, trusted)

    def load_from_nowhere(filename: str, map_location: MapLocation = None) -> dict[str, Any]:
        raise CheckpointError(f'{filename} cannot be read safely. Download it and give the path of the local file.')

    register = CheckpointLoader.register_scheme
    register(prefixes=['', 'http://', 'https://'], loader=load_from_safe_file, force=True)
    register(prefixes=['torchvision://', 'modelzoo://'], loader=load_from_safe_torchvision, force=True)
    register(prefixes=['open-mmlab://', 'openmmlab://'], loader=load_from_safe_openmmlab, force=True)
    register(
        prefixes=['mmcls://', 'pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], loader=load_from_nowhere, force=True
    )


def _published_address(name: str, addresses: dict[str, str]) -> str:
    """Look up a published model.

    Args:
        name (str): ``scheme://model``.
        addresses (dict): Address per model.

    Returns:
        str: Its address.

    Raises:
        CheckpointError: If no such model is published.
    """
    model = name.split('://', 1)[1]
    if model not in addresses:
        raise CheckpointError(f'{name} is not a published model. Known ones: {", ".join(sorted(addresses))}.')
    return addresses[model]


def _refuse_code(path: str, error: Exception) -> None:
    """Raise if a file could not be read because it wants to run something.

    Args:
        path (str): The file.
        error (Exception): What reading it raised.

    Raises:
        UntrustedCheckpointError: If it names or calls anything beyond plain data.
    """
    if zipfile.is_zipfile(path):
        try:
            with only_allowed_globals():
                wanted = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except Exception:
            return
        if not wanted and isinstance(error, pickle.UnpicklingError):
            wanted = [_reason(error)]
    else:
        with open(path, 'rb') as file:
            wanted = [name for name in _named_globals(file) if not name.startswith(('torch.', 'collections.'))]
    if wanted:
        raise UntrustedCheckpointError(
            f'{path} carries executable pickle ({", ".join(sorted(set(wanted)))}); it was refused and none of it ran. '
            'Weights need no code: ask for a plain state dict. If you trust this file as you would a program, '
            'pass --trust-checkpoint (in Python: trusted=True).'
        ) from error


def _named_globals(file: BinaryIO) -> Iterator[str]:
    """List the classes and functions that a file of pickles names, without unpickling it.

    Args:
        file (BinaryIO): One pickle after another; whatever follows them is ignored.

    Yields:
        str: ``module.name``.
    """
    texts: list[str] = []
    while True:
        try:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ('GLOBAL', 'INST'):
                    yield argument.replace(' ', '.')
                elif opcode.name == 'STACK_GLOBAL':
                    yield '.'.join(texts[-2:])
                elif isinstance(argument, str):
                    texts.append(argument)
        except (ValueError, IndexError, UnicodeError):
            return


def _reason(error: Exception) -> str:
    """Shorten torch's long explanations to what was found in the file.

    Args:
        error (Exception): What reading raised.

    Returns:
        str: One line.
    """
    text = str(error).split('WeightsUnpickler error: ')[-1].strip().splitlines()
    return f'{type(error).__name__}: {text[0]}' if text else type(error).__name__
