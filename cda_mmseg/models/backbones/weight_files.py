"""Reading a file of initial weights."""

from collections.abc import Mapping

from torch import Tensor

from cda_mmseg.engine.checkpointing.errors import CheckpointError
from cda_mmseg.engine.checkpointing.safe_loading import load_checkpoint_file

CONFIG_KEY = 'model.backbone.init_cfg.checkpoint'


def read_weights(checkpoint: str, prefix: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a weight file without executing anything in it.

    Args:
        checkpoint (str): Path of a file written by ``torch.save``, or its http(s) URL, which is fetched once and kept
            in ``$TORCH_HOME/hub/checkpoints``. The file holds a state dict, or a checkpoint with a state dict under
            ``'state_dict'``.
        prefix (str, optional): Take only the keys that start with this, and cut it off, e.g. ``'backbone.'``.

    Returns:
        dict[str, Tensor]: The tensors, on the CPU, in the file's dtypes.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be fetched, is damaged or carries code, or has no tensors (under ``prefix``).
    """
    advice = f'The config key of the initial weights is {CONFIG_KEY}.'
    try:
        content = load_checkpoint_file(checkpoint)
    except (CheckpointError, FileNotFoundError) as error:
        raise type(error)(f'{error} {advice}') from error
    weights = content['state_dict'] if isinstance(content.get('state_dict'), Mapping) else content
    start = prefix or ''
    weights = {
        key[len(start) :]: value
        for key, value in weights.items()
        if isinstance(key, str) and key.startswith(start) and isinstance(value, Tensor)
    }
    if not weights:
        place = f' under the prefix {prefix!r}' if prefix else ''
        raise CheckpointError(f'{checkpoint} has no weights{place}. Use the state dict of a network. {advice}')
    return weights
