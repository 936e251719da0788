"""The three players: each one module with one forward per update, so that it can be wrapped, frozen and compiled."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

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


def _check_sharing(player: str, sharing: str) -> None:
    if sharing not in SHARINGS:
        raise ValueError(f'{player}_sharing must be one of {SHARINGS}, got {sharing!r}.')


@dataclass
class Encoding:
    """What the encoder makes of one batch.

    Attributes:
        features (list[Tensor]): The embedding: feature maps (N, C_i, H_i, W_i) of backbone and neck.
        scores (list): Outputs of the decode head and the auxiliary heads; empty where nothing reads them.
    """

    features: list[Tensor]
    scores: list


class EncoderPlayer(nn.Module):
    """E: a view of a segmentor's backbone, neck and heads (paper §3.1: S has no parameters, so E ends at the scores).

    The view shares the segmentor's modules under their own names, so ``paramwise_cfg`` keys read as in mmseg, and it
    adds no key to a checkpoint because the segmentor does not register it.

    Args:
        segmentor (nn.Module): The ``EncoderDecoder`` to view.
    """

    def __init__(self, segmentor: nn.Module) -> None:
        super().__init__()
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

    def encode(self, images: Tensor, with_scores: bool) -> Encoding:
        """Embed one batch.

        Args:
            images (Tensor): Normalised images (N, 3, H, W).
            with_scores (bool): Whether the heads run.

        Returns:
            Encoding: Feature maps, and the heads' outputs.
        """
        features = self.backbone(images)
        if hasattr(self, 'neck'):
            features = self.neck(features)
        features = [features] if isinstance(features, Tensor) else list(features)
        scores = [head.forward(features) for head in self.heads.values()] if with_scores else []
        return Encoding(features, scores)

    def forward(
        self, images: Mapping[Domain, Tensor], scored: Sequence[Domain], slots: RandomnessSlots
    ) -> dict[Domain, tuple[list[Tensor], list]]:
        """Embed one batch per domain.

        Args:
            images (Mapping[str, Tensor]): Normalised images (N, 3, H, W) per domain.
            scored (Sequence[str]): Domains whose class scores are read.
            slots (RandomnessSlots): Seeds of dropout and drop-path.

        Returns:
            dict[str, tuple[list[Tensor], list]]: (feature maps, head outputs) per domain.
        """
        encodings = {}
        for domain, batch in images.items():
            with slots(f'encoder/{domain}'):
                encoding = self.encode(batch, domain in scored)
            encodings[domain] = (encoding.features, encoding.scores)
        return encodings


class GeneratorPlayer(BaseModule):
    """G: rebuilds each domain's image from E's embedding (paper §3.4).

    Args:
        network (dict): Config of the generator network.
        sharing (str): 'shared' uses one network for both domains, 'per_domain' one each.

    Raises:
        ValueError: If ``sharing`` is neither.
    """

    def __init__(self, network: dict, sharing: str = 'shared') -> None:
        super().__init__()
        _check_sharing('generator', sharing)
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
        fakes = {}
        for domain, maps in features.items():
            with slots(f'generator/{domain}'):
                fakes[domain] = self.rebuild(domain, maps, sizes[domain])
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

    Raises:
        ValueError: If ``sharing`` is neither.
    """

    def __init__(self, network: dict, sharing: str = 'per_domain') -> None:
        super().__init__()
        _check_sharing('discriminator', sharing)
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
        answers = []
        for question in questions:
            with slots(f'discriminator/{question.slot}'):
                if self.sharing == 'shared':
                    channel = DOMAINS.index(question.judge)
                    logits = self.networks['both'](question.picture)[:, channel : channel + 1]
                else:
                    logits = self.networks[question.judge](question.picture)
            answers.append(logits)
        return answers
