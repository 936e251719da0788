"""Whether the weights in a checkpoint are those of a network, all of them."""

import itertools
from collections.abc import Collection, Mapping

from mmengine.config import Config
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmseg.apis import init_model
from torch import Tensor, nn

from cda_mmseg.utils.finite import describe_non_finite
from cda_mmseg.utils.loading.errors import NonFiniteStateError, UnreadableCheckpointError
from cda_mmseg.utils.loading.safe_loading import load_checkpoint_file

NETWORK_PARTS = ('backbone', 'neck', 'decode_head', 'auxiliary_head')
"""What predicts. Adaptations, whose players and teachers only train, may be absent."""

FRESH_PARTS = 'fresh_parts'
"""Config key: parts of the network that a run from ``load_from`` may begin without."""


def check_fit(
    model: nn.Module, checkpoint: Mapping, path: str, fresh_parts: Collection[str] = (), whole: bool = False
) -> list[str]:
    """Compare a checkpoint with a network, name by name and shape by shape, and look for NaN and infinity.

    Without this, what is missing or has another shape is passed over by mmengine and stays random; a network that is
    deeper in the file, as ResNet-101 is than ResNet-50, is cut short; and one that is NaN is scored like any other.

    Args:
        model: The network, perhaps wrapped for distribution or test-time augmentation.
        checkpoint: What the file holds: weights, or a dict with them under ``state_dict``.
        path: The file, for errors.
        fresh_parts: Parts of the network that need not fit.
        whole: Whether the weights of adaptations are needed too. Otherwise the file may lack them, or have others.

    Returns:
        Lines that say what does not fit.

    Raises:
        UnreadableCheckpointError: If a weight outside ``fresh_parts`` is missing, superfluous or has another shape.
        NonFiniteStateError: If a weight is NaN or infinite.
        ValueError: If ``fresh_parts`` names something else than parts of the network.
    """
    if isinstance(fresh_parts, str) or not set(fresh_parts) <= set(NETWORK_PARTS):
        raise ValueError(f'{FRESH_PARTS} must be a list of some of {NETWORK_PARTS}, got {fresh_parts!r}.')
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    state = weights_of(checkpoint, path)
    weights = {name: tuple(getattr(value, 'shape', ())) for name, value in state.items()}
    own = {name for name in shapes if name.split('.')[0] in NETWORK_PARTS} or set(shapes)
    if shapes and not own & weights.keys():
        raise UnreadableCheckpointError(
            f'None of the {len(weights)} weights in {path} fits {type(model).__name__}: the file has {_some(weights)}, '
            f'the model {_some(shapes)}. Use a checkpoint of this network, or its own config.'
        )
    misfits = {}
    for name in [*shapes, *(weights.keys() - shapes.keys())]:
        part = name.split('.')[0]
        # an auxiliary head too many predicts nothing; the counters only serve BatchNorm without a momentum
        needed = whole or name in own or part in NETWORK_PARTS[:-1]
        if not needed or name.endswith('num_batches_tracked') or weights.get(name) == shapes.get(name):
            continue
        if name not in weights:
            misfits[name] = f'{name} is missing'
        elif name not in shapes:
            misfits[name] = f'{name} is not in the network'
        else:
            misfits[name] = f'{name} has the shape {weights[name]} where {shapes[name]} is needed'
    bad = [line for name, line in misfits.items() if name.split('.')[0] not in fresh_parts]
    if bad:
        parts = sorted({name.split('.')[0] for name in misfits} & set(NETWORK_PARTS))
        advice = f'; to begin a new run with it and with new parts, set load_from and {FRESH_PARTS}={parts}'
        named = '; '.join([*bad[:3], *(['…'] if len(bad) > 3 else [])])
        raise UnreadableCheckpointError(
            f'{path} fits {type(model).__name__} only partly (misfits: {len(bad)}): {named}. The network would be '
            'partly random. Use a checkpoint of this very network, or the config that it was trained with'
            f'{advice if parts else ""}.'
        )
    if spoilt := describe_non_finite(state, {}):
        raise NonFiniteStateError(f'{path} holds values that are not finite: {spoilt}. Use an earlier checkpoint.')
    return list(misfits.values())


def weights_of(checkpoint: Mapping, path: str) -> dict[str, Tensor]:
    """Find the weights in what a file holds.

    Raises:
        UnreadableCheckpointError: If there are none.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise UnreadableCheckpointError(f'{path} holds no weights by name. Save model.state_dict().')
    return weights


def init_trained_model(config: Config, checkpoint: str, device: str = 'cpu', whole: bool = False) -> nn.Module:
    """Build a config's model with the weights of a checkpoint, all of them; see :func:`check_fit`."""
    # A copy, because init_model edits the config that it is given.
    model = init_model(config.copy(), None, device)
    meta = load_trained_weights(model, checkpoint, whole).get('dataset_meta')
    if meta:
        model.dataset_meta = meta
    return model


def load_trained_weights(model: nn.Module, checkpoint: str, whole: bool = False) -> dict:
    """Load the weights of a checkpoint into a model, all of them, see :func:`check_fit`; return its ``meta``."""
    content = load_checkpoint_file(checkpoint)
    check_fit(model, content, checkpoint, whole=whole)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    weights = weights_of(content, checkpoint)
    # adaptations that nobody asked for may be others
    fitting = {name: value for name, value in weights.items() if getattr(value, 'shape', None) == shapes.get(name)}
    model.load_state_dict(fitting, strict=False)
    return content.get('meta', {})


def _some(names: Collection[str]) -> str:
    """Show the first names of many."""
    return ', '.join(itertools.islice(names, 3)) + (', …' if len(names) > 3 else '')
