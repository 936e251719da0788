"""How a training step is computed, apart from what it computes."""

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields

from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import checkpoint as checkpointing

MEMORY = ('default', 'low')


@contextmanager
def non_reentrant_checkpoints() -> Iterator[None]:
    """Let the networks' activation checkpoints be non-reentrant, whatever their code says nothing about.

    mmseg's backbones leave the choice to torch, whose default dies under ``DistributedDataParallel`` with two forward
    passes before a backward pass, and forbids ``torch.autograd.grad``.
    """
    stock = checkpointing.checkpoint
    checkpointing.checkpoint = functools.partial(stock, use_reentrant=False)
    try:
        yield
    finally:
        checkpointing.checkpoint = stock


@dataclass(frozen=True)
class Execution:
    """Choose how a training step is computed.

    No choice changes what is computed, except in the last bits: sums are made in another order. docs/performance.md has
    what each gains.

    Attributes:
        batch_domains (bool): Send source and target through a network as one batch where both go through it, so that
            its weights are read, and their gradients written, once. Needs images of one size in both domains, and
            networks without statistics over the batch. Dropout and noise are drawn for the joint batch then.
        memory (str): 'default' keeps all activations for the backward pass. 'low' sets ``with_cp=True`` of backbone and
            generator: they keep the inputs of their stages only and compute the rest again (gradient checkpointing).
            Needs networks without statistics over the batch, which would be counted twice.
        channels_last (bool): Keep weights and images with the channels last (NHWC).
        compile (bool): Compile the players' networks with ``torch.compile`` for training; prediction stays as it is.
            Dropout and noise come from the compiler's generator then.
    """

    batch_domains: bool = False
    memory: str = 'default'
    channels_last: bool = False
    compile: bool = False

    @classmethod
    def from_config(cls, config: Mapping | None) -> 'Execution':
        """Read ``model.execution``.

        Args:
            config (Mapping | None): Some of the attributes; None for all defaults.

        Returns:
            Execution: The choice.

        Raises:
            ValueError: If a key or a value is unknown.
        """
        config = dict(config or {})
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise ValueError(f'model.execution has no {unknown}, only {known}.')
        for key in ('batch_domains', 'channels_last', 'compile'):
            if not isinstance(config.get(key, False), bool):
                raise ValueError(f'model.execution.{key} must be True or False, got {config[key]!r}.')
        if config.get('memory', 'default') not in MEMORY:
            raise ValueError(f'model.execution.memory must be one of {MEMORY}, got {config["memory"]!r}.')
        return cls(**config)

    def of_network(self, key: str, config: dict) -> dict:
        """Lay the choice over the config of a network.

        Args:
            key (str): Its key in ``model``.

        Returns:
            dict: The config to build.

        Raises:
            ValueError: If the network cannot do with less memory.
        """
        if self.memory != 'low':
            return config
        network = config['type'] if isinstance(config['type'], type) else MODELS.get(config['type'])
        # ResNetV1c and its like pass on whatever they get; what then does not fit, their base class refuses.
        parameters = inspect.signature(network).parameters.values() if network is not None else ()
        takes_it = any(one.name == 'with_cp' or one.kind is one.VAR_KEYWORD for one in parameters)
        if network is not None and not takes_it:
            raise ValueError(
                f"model.execution.memory='low': the {key} {network.__name__} has no with_cp, it keeps all activations. "
                "Choose another network or memory='default'."
            )
        return {**config, 'with_cp': True}

    def check_networks(self, networks: Mapping[str, nn.Module], joins: bool = True) -> None:
        """Refuse networks for which the choice would change what is computed.

        Args:
            networks (Mapping[str, nn.Module]): Networks in the mode in which they train, by their keys in ``model``.
            joins (bool): Whether there are domains to join: more than one that is encoded.

        Raises:
            ValueError: If one of them learns statistics over the batch.
        """
        chosen = ['batch_domains=True'] if self.batch_domains and joins else []
        chosen += ["memory='low'"] if self.memory == 'low' else []
        for key, network in networks.items():
            learning = [
                name for name, module in network.named_modules() if isinstance(module, _BatchNorm) and module.training
            ]
            if chosen and learning:
                raise ValueError(
                    f'model.execution has {" and ".join(chosen)}, but {key}.{learning[0]} learns statistics over the '
                    'batch: the domains would share them, or they would be counted twice. Keep those of backbone, '
                    'neck and heads with model.freeze_batch_norm=True, choose another norm layer, or switch this off.'
                )

    def check_images(self, images: Mapping[str, Tensor]) -> None:
        """Refuse images that cannot become one batch.

        Args:
            images (Mapping[str, Tensor]): Images (N, 3, H, W) per domain.

        Raises:
            ValueError: If their sizes differ.
        """
        sizes = {domain: tuple(batch.shape[2:]) for domain, batch in images.items()}
        if self.batch_domains and len(set(sizes.values())) > 1:
            raise ValueError(
                f'model.execution.batch_domains=True needs images of one size, got {sizes} (height, width): crop both '
                'domains alike, or switch it off.'
            )
