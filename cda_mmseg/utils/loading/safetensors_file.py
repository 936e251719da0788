"""Read weights in the safetensors format, which carries nothing but tensors."""

from torch import Tensor

from cda_mmseg.utils.loading.errors import CheckpointError, UnreadableCheckpointError

SUFFIX = '.safetensors'


def read_safetensors(path: str) -> dict[str, Tensor]:
    """Read all tensors of a file, onto the CPU.

    Raises:
        UnreadableCheckpointError: If the file is truncated, damaged or of another kind.
        CheckpointError: If the package safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f'{path}: reading it needs a package: pip install "cda_mmseg[publish]".') from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UnreadableCheckpointError(
            f'{path} cannot be read as safetensors ({error}). It is truncated, damaged or a file of another kind: copy '
            'or download it again, or use another file.'
        ) from error
