"""Which adaptations a run trains: resuming with others would start their players and states in the middle of a run."""

from mmengine.model import is_model_wrapper
from torch import nn

from cda_mmseg.utils.loading.errors import UnresumableCheckpointError

_ADVICE = 'To start from its weights and iteration with the adaptations of this config, use --branch-from instead.'


def adaptation_types(model: nn.Module) -> dict[str, str]:
    """Name the adaptations of a model and their types."""
    model = model.module if is_model_wrapper(model) else model
    return {name: type(adaptation).__name__ for name, adaptation in getattr(model, 'adaptations', {}).items()}


def check_adaptations(model: nn.Module, checkpoint: dict, path: str) -> None:
    """Refuse to resume a run that has trained other adaptations.

    Raises:
        UnresumableCheckpointError: If the checkpoint says so, or is of the layout of before adaptations.
    """
    if any(name.startswith(('generator.', 'discriminator.')) for name in checkpoint.get('state_dict', {})):
        raise UnresumableCheckpointError(
            f'{path} is of an older layout, with its players beside the network instead of under adaptations, and '
            'cannot be resumed. Its network can be evaluated, and a new run can begin with it: load_from.'
        )
    saved, own = checkpoint.get('meta', {}).get('adaptations'), adaptation_types(model)
    if saved is not None and saved != own:
        raise UnresumableCheckpointError(
            f'{path} was trained with the adaptations {saved or "none"}, the config has {own or "none"}. {_ADVICE}'
        )
