"""Backbones of the transformers library: ConvNeXt, DINOv2, DINOv3 and whatever else its ``AutoBackbone`` has."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cda_mmseg.models.backbones.weight_files import CONFIG_KEY, split_init_cfg
from cda_mmseg.utils.arguments import lists_arguments
from cda_mmseg.utils.loading.errors import CheckpointError

_PROBE_SIZE = 224
# Norms that only a backbone has, in front of the maps that it returns: other models' files have none to give.
_NORMS_OF_THE_MAPS = 'hidden_states_norms.'


@MODELS.register_module()
class TransformersBackbone(BaseModule):
    """A backbone that ``transformers.AutoBackbone`` builds; needs ``pip install 'cda_mmseg[backbones]'``.

    Parameters that no map depends on, such as DINOv2's mask token, are frozen: no loss reaches them. Images whose sides
    are no multiples of the patch size are resized to the nearest ones, so that the maps cover the whole image.

    Args:
        config (dict): ``model_type`` and what differs from that model's defaults, as in a ``config.json``;
            ``out_indices`` says which maps are returned, 0 being the embedding.
        with_cp (bool): Keep only the inputs of the layers for the backward pass and compute the rest again.
        init_cfg (dict | list[dict], optional): ``dict(type='Pretrained', checkpoint=...)`` with a folder that
            ``save_pretrained`` wrote, or a name on the Hugging Face hub. Only safetensors are read, and no code of
            theirs is run. Without one, weights are drawn as transformers does.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If there is no such backbone, a key of ``config`` is none of its own, or it has no ``with_cp``.

    Shape:
        - Input: ``(N, num_channels, H, W)`` floating point.
        - Output: tuple of ``(N, C_i, H_i, W_i)``.
    """

    @lists_arguments
    def __init__(self, config: dict, with_cp: bool = False, init_cfg: dict | list[dict] | None = None) -> None:
        drawn, self.pretrained_cfgs = split_init_cfg(init_cfg)
        if drawn:
            raise ValueError("TransformersBackbone.init_cfg can only be of type='Pretrained'.")
        super().__init__()
        library = _import_transformers()
        self.config = _complete_config(library, config)
        self.network = library.AutoBackbone.from_config(self.config)
        with torch.device('meta'):
            twin = library.AutoBackbone.from_config(self.config)
        unreached = _unreached_parameters(twin, getattr(self.config, 'num_channels', 3))
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name not in unreached)
        if with_cp:
            if not self.network.supports_gradient_checkpointing:
                raise ValueError(f'{type(self.network).__name__} has no with_cp (gradient checkpointing).')
            self.network.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
        patch = getattr(self.config, 'patch_size', 1)
        self.patch_size = patch if isinstance(patch, int) else 1

    def init_weights(self) -> None:
        """Load the weights that ``init_cfg`` names, or draw them.

        Raises:
            CheckpointError: If they cannot be found, are no safetensors, or are not those of this network.
        """
        if not self.is_init:
            for cfg in self.pretrained_cfgs:
                self._load_pretrained(cfg['checkpoint'])
            if not self.pretrained_cfgs:
                drawn = _import_transformers().AutoBackbone.from_config(self.config)
                self.network.load_state_dict(drawn.state_dict())
        self._is_init = True

    def _load_pretrained(self, checkpoint: str) -> None:
        advice = f'The config key of the initial weights is {CONFIG_KEY}.'
        if os.path.exists(checkpoint) and not os.path.isdir(checkpoint):
            raise CheckpointError(
                f'{checkpoint} is a file: name the folder of model.safetensors that save_pretrained wrote. {advice}'
            )
        library = _import_transformers()
        try:
            with _quiet(library):
                theirs = library.AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
                loaded, report = type(self.network).from_pretrained(
                    checkpoint,
                    config=self.config,
                    dtype=torch.float32,
                    use_safetensors=True,  # anything else could run code
                    trust_remote_code=False,
                    ignore_mismatched_sizes=True,  # they are named below
                    output_loading_info=True,
                )
        except Exception as error:  # of many libraries, each with its own
            raise CheckpointError(
                f'The initial weights {checkpoint} cannot be read as safetensors, from a local folder or the Hugging '
                f'Face hub: {str(error).splitlines()[0]} {advice}'
            ) from error
        differing = _differences(self.config.to_dict(), theirs.to_dict())
        if misfits := _misfits(report, list(self.network.state_dict()), type(self.network).base_model_prefix):
            raise CheckpointError(
                f'The initial weights {checkpoint} do not fit model.backbone.config: {misfits}. '
                f'In their config.json: {differing}. {advice}'
            )
        self.network.load_state_dict(loaded.state_dict())
        print_log(f'Loaded {type(self.network).__name__} from {checkpoint}. In its config.json: {differing}', 'current')

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x (Tensor): Normalised images, ``(N, num_channels, H, W)``.

        Returns:
            tuple[Tensor, ...]: The maps of ``config.out_indices``, shallowest first.
        """
        size = [max(1, round(side / self.patch_size)) * self.patch_size for side in x.shape[2:]]
        if size != list(x.shape[2:]):
            x = interpolate(x, size, mode='bilinear', align_corners=False)
        return tuple(self.network(x).feature_maps)


def _import_transformers() -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"TransformersBackbone needs transformers: pip install 'cda_mmseg[backbones]' ({error})"
        ) from error
    return transformers


@contextmanager
def _quiet(library: ModuleType) -> Iterator[None]:
    """Keep the library's tables and bars out of the log; what they say is in the error."""
    level, has_bar = library.logging.get_verbosity(), library.logging.is_progress_bar_enabled()
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    try:
        yield
    finally:
        library.logging.set_verbosity(level)
        if has_bar:
            library.logging.enable_progress_bar()


def _complete_config(library: ModuleType, config: Mapping) -> object:
    """Build the library's config as if it had been written into a file and read, which makes lists of tuples."""
    backbones = list(library.models.auto.modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES)
    if config.get('model_type') not in backbones:
        raise ValueError(
            f'model.backbone.config: model_type={config.get("model_type")!r} is no backbone of transformers '
            f'{library.__version__}, which has {", ".join(backbones)}.'
        )
    known = library.AutoConfig.for_model(config['model_type'])
    if unknown := [key for key in config if key != 'model_type' and not hasattr(known, key)]:
        raise ValueError(
            f'model.backbone.config has {", ".join(unknown)}, which {type(known).__name__} does not know. It knows '
            f'{", ".join(known.to_dict())}.'
        )
    written = library.AutoConfig.for_model(**json.loads(json.dumps(config))).to_json_string(use_diff=False)
    return library.AutoConfig.for_model(**json.loads(written))


def _unreached_parameters(network: nn.Module, num_channels: int) -> set[str]:
    """Name the parameters that no map depends on, by walking the graph of a forward pass."""
    with torch.enable_grad():
        maps = network(torch.zeros(1, num_channels, _PROBE_SIZE, _PROBE_SIZE, device='meta')).feature_maps
    nodes = [one.grad_fn for one in maps]
    seen = set(nodes)
    reached = set()
    while nodes:
        node = nodes.pop()
        reached.add(id(getattr(node, 'variable', None)))  # only nodes of parameters have one
        following = {function for function, _ in node.next_functions if function is not None} - seen
        seen |= following
        nodes += following
    return {name for name, parameter in network.named_parameters() if id(parameter) not in reached}


def _differences(ours: Mapping, theirs: Mapping) -> str:
    """Say where a file's config differs from that of the network, apart from what it returns."""
    of_no_weight = ('_name', 'architectures', 'dtype', 'id2', 'label2', 'out_', 'transformers_')
    differing = [
        f'{key}={theirs[key]!r} (here {value!r})'
        for key, value in ours.items()
        if key in theirs and theirs[key] != value and not key.startswith(of_no_weight)
    ]
    return ', '.join(differing) or 'the same'


def _misfits(report: Mapping, wanted: list[str], prefix: str) -> str:
    """Say which weights a file lacks, has beyond this network's layers, or has in another shape."""

    def shared(key: str) -> str:
        """Give the layers of a network one name."""
        return re.sub(r'\d+', '#', key.removeprefix(f'{prefix}.'))

    layers = {shared(key) for key in wanted if re.search(r'\d', key)}
    found = {
        'missing': [key for key in report['missing_keys'] if not key.startswith(_NORMS_OF_THE_MAPS)],
        'not in the network': [key for key in report['unexpected_keys'] if shared(key) in layers],
        'wrong shape': [key for key, *_ in report['mismatched_keys']],
    }
    return '; '.join(
        f'{title}: {sorted(keys)[0]}' + (f' and {len(keys) - 1} more' if len(keys) > 1 else '')
        for title, keys in found.items()
        if keys
    )
