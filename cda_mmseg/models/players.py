"""The three players: each one module with one forward per update, so that it can be wrapped, frozen and compiled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from mmengine.model import BaseModule, ModuleDict
from mmseg.registry import MODELS
from torch import Tensor, nn

from cda_mmseg.models.randomness_slots import RandomnessSlots

Domain = Literal['source', 'target']
DOMAINS: tuple[Domain, Domain] = ('source', 'target')
OTHER_DOMAIN: dict[Domain, Domain] = {'source': 'target', 'target': 'source'}
SHARINGS = ('shared', 'per_domain')


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Keep modules out of the gradient computation, and restore only the flags that were cleared.

    Args:
        *modules (nn.Module): Players that are not being updated.

    Yields:
        None: Nothing.
    """
    cleared = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for parameter in cleared:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in cleared:
            parameter.requires_grad_(True)


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
        batch_domains (bool): Whether both domains go through as one batch.
        compile (bool): Whether ``forward`` runs compiled networks.
    """

    def __init__(self, segmentor: nn.Module, batch_domains: bool = False, compile: bool = False) -> None:
        super().__init__()
        self.batch_domains = batch_domains
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
        """Embed one batch.

        Args:
            images (Tensor): Normalised images (N, 3, H, W).

        Returns:
            list[Tensor]: The embedding: feature maps (N, C_i, H_i, W_i) of backbone and neck.
        """
        features = self.backbone(images)
        if hasattr(self, 'neck'):
            features = self.neck(features)
        return [features] if isinstance(features, Tensor) else list(features)

    def score(self, features: list[Tensor]) -> list:
        """Score the classes.

        Args:
            features (list[Tensor]): The embedding.

        Returns:
            list: Outputs of the decode head and the auxiliary heads.
        """
        return [head.forward(features) for head in self.heads.values()]

    def forward(
        self, images: Mapping[Domain, Tensor], scored: Sequence[Domain], slots: RandomnessSlots
    ) -> dict[Domain, tuple[list[Tensor], list]]:
        """Embed one batch per domain.

        Args:
            images (Mapping[str, Tensor]): Normalised images (N, 3, H, W) per domain.
            scored (Sequence[str]): Domains whose class scores are read.
            slots (RandomnessSlots): Seeds of dropout and drop-path.

        Returns:
            dict[str, tuple[list[Tensor], list]]: (feature maps, head outputs) per domain; no outputs where nothing
            reads them.
        """
        embed, score = EncoderPlayer.embed, EncoderPlayer.score
        if self.compiles:
            embed, score = _compiled(embed), _compiled(score)
        if self.batch_domains:
            with slots('encoder/both'):
                joint = embed(self, torch.cat(list(images.values())))
                features = _split_maps(joint, images)
                return {
                    domain: (maps, score(self, maps) if domain in scored else []) for domain, maps in features.items()
                }
        encodings = {}
        for domain, batch in images.items():
            with slots(f'encoder/{domain}'):
                maps = embed(self, batch)
                encodings[domain] = (maps, score(self, maps) if domain in scored else [])
        return encodings


def _split_maps(maps: Sequence[Tensor], batches: Mapping[Domain, Tensor]) -> dict[Domain, list[Tensor]]:
    """Give each domain its part of the joint batch."""
    sizes = [len(batch) for batch in batches.values()]
    parts = zip(*(level.split(sizes) for level in maps), strict=True)
    return {domain: list(levels) for domain, levels in zip(batches, parts, strict=True)}


class GeneratorPlayer(BaseModule):
    """G: rebuilds each domain's image from E's embedding (paper §3.4).

    Args:
        network (dict): Config of the generator network.
        sharing (str): 'shared' uses one network for both domains, 'per_domain' one each.
        batch_domains (bool): Whether both domains go through a shared network as one batch.
        compile (bool): Whether ``forward`` runs compiled networks.

    Raises:
        ValueError: If ``sharing`` is neither.
    """

    def __init__(
        self, network: dict, sharing: str = 'shared', batch_domains: bool = False, compile: bool = False
    ) -> None:
        super().__init__()
        _check_sharing('generator', sharing)
        self.batch_domains = batch_domains and sharing == 'shared'
        self.compiles = compile
        self.sharing = sharing
        names = ('both',) if sharing == 'shared' else DOMAINS
        self.networks = ModuleDict({name: MODELS.build(network) for name in names})

    def rebuild(self, domain: Domain, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Rebuild one domain's pictures.

        Args:
            domain (str): Whose embedding it is.
            features (Sequence[Tensor]): Feature maps (N, C_i, H_i, W_i).
            size (tuple[int, int]): Height and width of the pictures.

        Returns:
            Tensor: Pictures (N, 3, H, W) in [-1, 1].
        """
        return self.networks['both' if self.sharing == 'shared' else domain](features, size)

    def forward(
        self,
        features: Mapping[Domain, Sequence[Tensor]],
        sizes: Mapping[Domain, tuple[int, int]],
        slots: RandomnessSlots,
    ) -> dict[Domain, Tensor]:
        """Rebuild both domains' pictures.

        Args:
            features (Mapping[str, Sequence[Tensor]]): Feature maps per domain.
            sizes (Mapping[str, tuple[int, int]]): Picture size per domain.
            slots (RandomnessSlots): Seeds of dropout and of the embedding's noise.

        Returns:
            dict[str, Tensor]: Pictures (N, 3, H, W) in [-1, 1] per domain.
        """
        rebuild = _compiled(GeneratorPlayer.rebuild) if self.compiles else GeneratorPlayer.rebuild
        if self.batch_domains:
            joint = [torch.cat(levels) for levels in zip(*features.values(), strict=True)]
            with slots('generator/both'):
                fakes = rebuild(self, next(iter(features)), joint, next(iter(sizes.values())))
            return dict(zip(features, fakes.split([len(maps[0]) for maps in features.values()]), strict=True))
        fakes = {}
        for domain, maps in features.items():
            with slots(f'generator/{domain}'):
                fakes[domain] = rebuild(self, domain, maps, sizes[domain])
        return fakes


@dataclass(frozen=True)
class Question:
    """Ask D: is this picture a real one of that domain?

    Attributes:
        judge (str): Domain whose judgement is asked for.
        picture (Tensor): Pictures (N, 3, H, W) in [-1, 1].
        slot (str): Randomness slot of this forward.
    """

    judge: Domain
    picture: Tensor
    slot: str


class DiscriminatorPlayer(BaseModule):
    """D: judges patches of pictures, for each domain on its own.

    Args:
        network (dict): Config of the discriminator network; its ``out_channels`` is set here.
        sharing (str): 'per_domain' keeps two networks with one logit map each; 'shared' one trunk with logits
            (N, 2, h, w), channel 0 for source real/fake, channel 1 for target real/fake.
        batch_domains (bool): Whether all pictures that a network is asked about go through it as one batch.
        compile (bool): Whether ``forward`` runs compiled networks.

    Raises:
        ValueError: If ``sharing`` is neither.
    """

    def __init__(
        self, network: dict, sharing: str = 'per_domain', batch_domains: bool = False, compile: bool = False
    ) -> None:
        super().__init__()
        _check_sharing('discriminator', sharing)
        self.batch_domains = batch_domains
        self.compiles = compile
        self.sharing = sharing
        if sharing == 'shared':
            self.networks = ModuleDict({'both': MODELS.build({**network, 'out_channels': 2})})
        else:
            self.networks = ModuleDict({name: MODELS.build({**network, 'out_channels': 1}) for name in DOMAINS})

    def forward(self, questions: Sequence[Question], slots: RandomnessSlots) -> list[Tensor]:
        """Judge pictures.

        Args:
            questions (Sequence[Question]): Pictures, and whose judgement is asked for.
            slots (RandomnessSlots): Seeds of dropout.

        Returns:
            list[Tensor]: Logits (N, 1, h, w) per question; high means 'real'.
        """
        judge = _compiled(DiscriminatorPlayer.judge) if self.compiles else DiscriminatorPlayer.judge
        groups = self._group(questions) if self.batch_domains else [[index] for index in range(len(questions))]
        answers: dict[int, Tensor] = {}
        for indices in groups:
            group = [questions[index] for index in indices]
            with slots(f'discriminator/{"+".join(question.slot for question in group)}'):
                pictures = [question.picture for question in group]
                logits = judge(self, group[0].judge, torch.cat(pictures) if len(pictures) > 1 else pictures[0])
            parts = logits.split([len(question.picture) for question in group])
            for index, question, part in zip(indices, group, parts, strict=True):
                channel = DOMAINS.index(question.judge)
                answers[index] = part[:, channel : channel + 1] if self.sharing == 'shared' else part
        return [answers[index] for index in range(len(questions))]

    def judge(self, domain: Domain, pictures: Tensor) -> Tensor:
        """Run one network.

        Args:
            domain (str): Whose judgement is asked for.
            pictures (Tensor): Pictures (N, 3, H, W) in [-1, 1].

        Returns:
            Tensor: All its logits, (N, 1, h, w) or, if it is shared, (N, 2, h, w).
        """
        return self.networks['both' if self.sharing == 'shared' else domain](pictures)

    def _group(self, questions: Sequence[Question]) -> list[list[int]]:
        """Bring together the questions that one network answers."""
        if self.sharing == 'shared':
            return [list(range(len(questions)))]
        indices = range(len(questions))
        groups = [[index for index in indices if questions[index].judge == domain] for domain in DOMAINS]
        return [group for group in groups if group]
