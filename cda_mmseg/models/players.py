"""Players: each one module whose forward runs one network once, so that it can be wrapped and compiled."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import torch
from mmengine.model import BaseModule, ModuleDict
from mmseg.registry import MODELS
from torch import Tensor, nn

Domain = Literal['source', 'target']
DOMAINS: tuple[Domain, Domain] = ('source', 'target')
OTHER_DOMAIN: dict[Domain, Domain] = {'source': 'target', 'target': 'source'}
SHARINGS = ('shared', 'per_domain')


@cache
def _compiled(function: Callable) -> Callable:
    """Compile a method of a class, so that copies of a player do not share what belongs to one of them."""
    # One graph per shape: a run has few, and symbolic sizes make resizing fail.
    return torch.compile(function, dynamic=False)


def _check_sharing(player: str, sharing: str) -> None:
    if sharing not in SHARINGS:
        raise ValueError(f'{player}_sharing must be one of {SHARINGS}, got {sharing!r}.')


class EncoderPlayer(nn.Module):
    """E: a view of a segmentor's backbone, neck and heads (paper §3.1: S has no parameters, so E ends at the scores).

    The view shares the segmentor's modules under their own names, so ``paramwise_cfg`` keys read as in mmseg, and it
    adds no key to a checkpoint because the segmentor does not register it.

    Args:
        segmentor (nn.Module): The ``EncoderDecoder`` to view.
        compile (bool): Whether ``forward`` runs compiled networks.
    """

    def __init__(self, segmentor: nn.Module, compile: bool = False) -> None:
        super().__init__()
        self.compiles = compile
        self.backbone = segmentor.backbone
        if segmentor.with_neck:
            self.neck = segmentor.neck
        self.decode_head = segmentor.decode_head
        if segmentor.with_auxiliary_head:
            self.auxiliary_head = segmentor.auxiliary_head

    @property
    def heads(self) -> dict[str, nn.Module]:
        """dict[str, nn.Module]: Decode head and auxiliary heads under the prefixes of mmseg's log."""
        heads = {'decode': self.decode_head}
        auxiliary = getattr(self, 'auxiliary_head', None)
        if isinstance(auxiliary, nn.ModuleList):
            heads |= {f'aux_{index}': head for index, head in enumerate(auxiliary)}
        elif auxiliary is not None:
            heads['aux'] = auxiliary
        return heads

    def embed(self, images: Tensor) -> list[Tensor]:
        """Embed normalised images (N, 3, H, W): feature maps (N, C_i, H_i, W_i) of backbone and neck."""
        features = self.backbone(images)
        if hasattr(self, 'neck'):
            features = self.neck(features)
        return [features] if isinstance(features, Tensor) else list(features)

    def score(self, features: list[Tensor]) -> list:
        """Score the classes: outputs of the decode head and the auxiliary heads."""
        return [head.forward(features) for head in self.heads.values()]

    def forward(self, batches: Sequence[Tensor], scored: Sequence[bool]) -> list[tuple[list[Tensor], list]]:
        """Embed batches as one, and score some of them."""
        embed, score = EncoderPlayer.embed, EncoderPlayer.score
        if self.compiles:
            embed, score = _compiled(embed), _compiled(score)
        if len(batches) == 1:
            parts = [embed(self, batches[0])]
        else:
            sizes = [len(batch) for batch in batches]
            levels = [level.split(sizes) for level in embed(self, torch.cat(list(batches)))]
            parts = [list(maps) for maps in zip(*levels, strict=True)]
        return [(maps, score(self, maps) if wanted else []) for maps, wanted in zip(parts, scored, strict=True)]


class GeneratorPlayer(BaseModule):
    """G: rebuilds each domain's image from E's embedding (paper §3.4).

    Args:
        network (dict): Config of the generator network.
        sharing (str): 'shared' uses one network for both domains, 'per_domain' one each.
        compile (bool): Whether ``forward`` runs compiled networks.

    Raises:
        ValueError: If ``sharing`` is neither.
    """

    def __init__(self, network: dict, sharing: str = 'shared', compile: bool = False) -> None:
        super().__init__()
        _check_sharing('generator', sharing)
        self.compiles = compile
        self.sharing = sharing
        names = ('both',) if sharing == 'shared' else DOMAINS
        self.networks = ModuleDict({name: MODELS.build(network) for name in names})

    def rebuild(self, domain: Domain, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Rebuild pictures (N, 3, *size) in [-1, 1] from one domain's feature maps (N, C_i, H_i, W_i)."""
        return self.networks['both' if self.sharing == 'shared' else domain](features, size)

    def forward(self, domain: Domain, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Rebuild as :meth:`rebuild` does; a shared network takes the embeddings of both domains as one batch."""
        rebuild = _compiled(GeneratorPlayer.rebuild) if self.compiles else GeneratorPlayer.rebuild
        return rebuild(self, domain, features, size)


class DiscriminatorPlayer(BaseModule):
    """D: tells real patches of pictures from rebuilt ones, for each domain on its own.

    Args:
        network (dict): Config of the discriminator network; its ``out_channels`` is set here.
        sharing (str): 'per_domain' keeps two networks with one logit map each; 'shared' one trunk with logits
            (N, 2, h, w), channel 0 for source real/fake, channel 1 for target real/fake.
        compile (bool): Whether ``forward`` runs compiled networks.

    Raises:
        ValueError: If ``sharing`` is neither.
    """

    def __init__(self, network: dict, sharing: str = 'per_domain', compile: bool = False) -> None:
        super().__init__()
        _check_sharing('discriminator', sharing)
        self.compiles = compile
        self.sharing = sharing
        if sharing == 'shared':
            self.networks = ModuleDict({'both': MODELS.build({**network, 'out_channels': 2})})
        else:
            self.networks = ModuleDict({name: MODELS.build({**network, 'out_channels': 1}) for name in DOMAINS})

    def network_of(self, domain: Domain) -> str:
        """Name the network of a domain."""
        return 'both' if self.sharing == 'shared' else domain

    def logits(self, network: str, pictures: Tensor) -> Tensor:
        """Run one network on pictures (N, 3, H, W) in [-1, 1]: all its logits, (N, 1 or 2, h, w)."""
        return self.networks[network](pictures)

    def forward(self, domains: Sequence[Domain], pictures: Sequence[Tensor]) -> list[Tensor]:
        """Ask whether pictures are real ones of a domain; they go through one network as one batch."""
        compute = _compiled(DiscriminatorPlayer.logits) if self.compiles else DiscriminatorPlayer.logits
        joint = torch.cat(list(pictures)) if len(pictures) > 1 else pictures[0]
        parts = compute(self, self.network_of(domains[0]), joint).split([len(batch) for batch in pictures])
        if self.sharing == 'per_domain':
            return list(parts)
        channels = [DOMAINS.index(domain) for domain in domains]
        return [part[:, channel : channel + 1] for part, channel in zip(parts, channels, strict=True)]


class MapDiscriminatorPlayer(BaseModule):
    """D of maps: tells which domain a map of the segmentation network belongs to.

    Args:
        network (dict): Config of the discriminator network.
        compile (bool): Whether ``forward`` runs a compiled network.
    """

    def __init__(self, network: dict, compile: bool = False) -> None:
        super().__init__()
        self.compiles = compile
        self.network = MODELS.build(network)

    def logits(self, maps: Tensor) -> Tensor:
        """Compute the logits (N, 1, h, w) of maps (N, C, H, W)."""
        return self.network(maps)

    def forward(self, maps: Tensor) -> Tensor:
        """Score maps as :meth:`logits` does; high logits mean 'target'."""
        compute = _compiled(MapDiscriminatorPlayer.logits) if self.compiles else MapDiscriminatorPlayer.logits
        return compute(self, maps)
