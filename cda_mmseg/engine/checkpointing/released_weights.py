"""The weights of checkpoints that others released, under our names."""

import os
import re
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from cda_mmseg.engine.checkpointing.fitting import NETWORK_PARTS, weights_of
from cda_mmseg.utils.atomic_file import replaced_when_complete
from cda_mmseg.utils.loading.errors import CheckpointError
from cda_mmseg.utils.loading.safe_loading import load_checkpoint_file

FAMILIES = ('daformer', 'mic', 'mmseg')
"""Whose layout a checkpoint has; HRDA's is MIC's."""

NETWORKS = {'student': 'model.', 'teacher': 'ema_model.'}
"""Networks in a checkpoint of the DAFormer family, and what the names of their weights begin with."""

_OLD_MIT = re.compile(r'backbone\.(patch_embed|block|norm)([1-4])\.(?:(.+)\.)?(weight|bias)')
_IN_A_BLOCK = {
    'attn.q': 'attn.attn.in_proj_',
    'attn.proj': 'attn.attn.out_proj.',
    'mlp.fc1': 'ffn.layers.0.',
    'mlp.dwconv.dwconv': 'ffn.layers.1.',
    'mlp.fc2': 'ffn.layers.4.',
}
_HRDA = 'decode_head.head.'
_SCALE_ATTENTION = 'decode_head.scale_attention.'


def convert_file(
    path: str, out: str, family: str, network: str = 'student', trusted: bool = False
) -> tuple[int, dict[str, int]]:
    """Write a released checkpoint anew, see :func:`convert_released`, with the names of its classes if it has them.

    Args:
        path: The checkpoint, or its address.
        out: The file to write.
        family: One of :data:`FAMILIES`.
        network: One of :data:`NETWORKS`.
        trusted: Whether code in the checkpoint may run.

    Returns:
        The number of weights written, and what was left out.

    Raises:
        CheckpointError: If the file cannot be read, carries code, or has no such network.
        FileExistsError: If ``out`` exists.
    """
    if os.path.exists(out):
        raise FileExistsError(f'{out} exists and is kept: give --out another name.')
    checkpoint = load_checkpoint_file(path, trusted=trusted)
    weights, left_out = convert_released(checkpoint, path, family, network)
    meta = checkpoint.get('meta') or {}
    named = meta.get('dataset_meta') or {}
    classes, palette = (named.get(key) or meta.get(key.upper()) for key in ('classes', 'palette'))
    with replaced_when_complete(out) as incomplete:
        dataset_meta = dict(classes=classes, palette=palette) if classes else None
        torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dataset_meta)), incomplete)
    return len(weights), left_out


def convert_released(
    checkpoint: Mapping, path: str, family: str, network: str = 'student'
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Take one network out of a released checkpoint and give its weights the names of ours.

    * ``'daformer'``: a student ``model.``, its teacher ``ema_model.``, the frozen ``imnet_model.``; MiT in the layout
      of SegFormer's authors.
    * ``'mic'``: the same, or with HRDA's head, whose attention between two scales is left out: nothing here reads it.
    * ``'mmseg'``: a network under mmseg's names, as its model zoo has.

    mmseg's MiT adds 1e-6 to the variances in its patch embeddings and reduced keys, the authors' 1e-5: outputs differ
    in the fifth digit.

    Args:
        checkpoint: What the file holds.
        path: The file, for errors.
        family: One of :data:`FAMILIES`.
        network: One of :data:`NETWORKS`; mmseg's zoo has students alone.

    Returns:
        The weights of backbone, neck and heads, and how many others were left out per beginning of their names.

    Raises:
        CheckpointError: If the file has no such network, or is of another family.
    """
    prefix = '' if family == 'mmseg' and network == 'student' else NETWORKS[network]
    weights, left_out = {}, Counter()
    for name, value in weights_of(checkpoint, path).items():
        if name.startswith(prefix) and name.removeprefix(prefix).split('.')[0] in NETWORK_PARTS:
            weights[name.removeprefix(prefix)] = value
        else:
            left_out[name.split('.')[0]] += 1
    if not any(name.startswith('backbone.') for name in weights):
        raise CheckpointError(
            f'{path} has no weight whose name begins with {prefix}backbone., only with {", ".join(sorted(left_out))}: '
            f'it is no checkpoint of {family}{f" with a {network}" if prefix else ""}. Weights of a backbone alone '
            'need no conversion: name them in model.backbone.init_cfg.'
        )
    if family == 'mmseg':
        return weights, dict(left_out)
    if any(name.startswith(_HRDA) for name in weights):
        if family != 'mic':
            raise CheckpointError(f"{path} has HRDA's head ({_HRDA}*): convert it as mic.")
        attention = [name for name in weights if name.startswith(_SCALE_ATTENTION)]
        left_out[prefix + _SCALE_ATTENTION] = len(attention)
        weights = {
            name.replace(_HRDA, 'decode_head.'): value for name, value in weights.items() if name not in attention
        }
    return _with_mmsegs_mit(weights, path), dict(left_out)


def _with_mmsegs_mit(weights: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """Rename the weights of a MiT as SegFormer's authors have it; queries are joined with keys and values."""
    converted = {}
    for name, value in weights.items():
        old = _OLD_MIT.fullmatch(name)
        if old is None:
            converted[name] = value
            continue
        part, stage, module, kind = old.groups()
        place = f'backbone.layers.{int(stage) - 1}'
        if part == 'norm':
            ours = f'{place}.2.{kind}'
        elif part == 'patch_embed':
            ours = f'{place}.0.{module.replace("proj", "projection")}.{kind}'
        else:
            block, _, module = module.partition('.')
            if module == 'attn.kv':
                continue
            ours = f'{place}.1.{block}.{_IN_A_BLOCK.get(module, f"{module}.")}{kind}'
            if module == 'attn.q':
                others = name.replace('.attn.q.', '.attn.kv.')
                if others not in weights:
                    raise CheckpointError(f'{path} has {name} but no {others}: it is incomplete. Download it again.')
                value = torch.cat([value, weights[others]])
            elif module in ('mlp.fc1', 'mlp.fc2') and kind == 'weight':
                value = value[:, :, None, None]  # a linear layer there, a 1x1 convolution here
        converted[ours] = value
    return converted
