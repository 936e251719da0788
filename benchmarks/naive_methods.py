"""Every other method's step written down plainly: each term has a forward and a backward pass of its own.

They share no training code with the package, only its networks, and what a test compares with another library: jitter,
class sizes. Tests ask for their very weights, benchmarks for their time and memory.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from benchmarks.naive_step import slot_seed

IGNORED = 255


class PlainStep:
    """One iteration of a method: E's forward passes, its cross entropy and a plain optimizer per player.

    A method overrides :meth:`step`, which back-propagates; all optimizers step at its end, as published.
    """

    run_seed = 7

    def __init__(self, model: nn.Module, **players: nn.Module) -> None:
        self.model = model
        self.heads = [model.decode_head, *([model.auxiliary_head] if model.with_auxiliary_head else [])]
        networks = {'encoder': nn.ModuleList([model.backbone, *self.heads]), **players}
        self.optimizers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in networks.values()]
        self.pixel_loss = self.auxiliary_loss = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction='none')

    def __call__(self, iteration: int, images: dict[str, Tensor], labels: Tensor) -> None:
        """Train on normalised images (N, 3, H, W) of both domains and the source's labels (N, H, W)."""
        self.back_propagate(iteration, images, labels)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def back_propagate(self, iteration: int, images: dict[str, Tensor], labels: Tensor) -> None:
        self.iteration, self.images, self.labels = iteration, images, labels
        self.step()
        self.images = {}

    def step(self) -> None:
        self.cross_entropy(self.forward('source')[1]).backward()

    def seed(self, name: str) -> None:
        torch.manual_seed(slot_seed(self.run_seed, self.iteration, 0, name))

    def forward(self, domain: str) -> tuple[list[Tensor], list[Tensor]]:
        """Compute the feature maps, and the scores of all heads at the size of the picture."""
        self.seed(f'encoder/{domain}')
        maps = list(self.model.backbone(self.images[domain]))
        return maps, [self.upsample(head.forward(maps)) for head in self.heads]

    def upsample(self, scores: Tensor) -> Tensor:
        return F.interpolate(scores, size=self.labels.shape[1:], mode='bilinear', align_corners=False)

    def cross_entropy(self, scores: list[Tensor], labels: Tensor | None = None, weight: Tensor | float = 1.0) -> Tensor:
        """Sum the heads' losses over labelled pixels, those of the auxiliary one times .1."""
        labels = self.labels if labels is None else labels
        valid = (labels != IGNORED).sum().item()
        main, *auxiliary = scores
        loss = (self.pixel_loss(main, labels) * weight).sum() / valid
        return loss + sum(0.1 * (self.auxiliary_loss(one, labels) * weight).sum() / valid for one in auxiliary)


def freeze(network: nn.Module, flag: bool = True) -> None:
    network.requires_grad_(not flag)


def bce(logits: Tensor, label: float) -> Tensor:
    """Binary cross entropy with the kernels of ours, so that the last bits agree."""
    return F.softplus(logits if label == 0 else -logits).mean()


def softmax(scores: Tensor) -> Tensor:
    return F.softmax(scores, dim=1)


def entropy_maps(scores: Tensor) -> Tensor:
    probabilities = F.softmax(scores, dim=1)
    return -torch.mul(probabilities, torch.log2(probabilities + 1e-30)) / np.log2(probabilities.size()[1])


class PlainOutputSpace(PlainStep):
    """AdaptSegNet's loop body, one discriminator per level."""

    def __init__(
        self,
        model: nn.Module,
        levels: Mapping[int, tuple[nn.Module, float]],
        maps: Callable[[Tensor], Tensor] = softmax,
        loss: Callable[[Tensor, float], Tensor] = bce,
        source: float = 0.0,
        target: float = 1.0,
    ) -> None:
        super().__init__(model, **{str(level): judge for level, (judge, _) in levels.items()})
        self.levels, self.maps, self.loss, self.source, self.target = levels, maps, loss, source, target

    def step(self) -> None:
        for judge, _ in self.levels.values():
            freeze(judge)
        of_source = self.forward('source')[1]
        self.cross_entropy(of_source).backward()
        of_source = [one.detach() for one in of_source]
        of_target = self.forward('target')[1]
        sum(
            weight * self.loss(judge(self.maps(of_target[level])), self.source)
            for level, (judge, weight) in self.levels.items()
        ).backward()
        of_target = [one.detach() for one in of_target]
        for level, (judge, _) in self.levels.items():
            freeze(judge, False)
            (self.loss(judge(self.maps(of_source[level])), self.source) / 2).backward()
            (self.loss(judge(self.maps(of_target[level])), self.target) / 2).backward()


class TrueReversal(torch.autograd.Function):
    """The layer of Ganin and Lempitsky."""

    @staticmethod
    def forward(ctx: FunctionCtx, maps: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return maps.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.neg() * ctx.strength, None


class PlainReversal(PlainStep):
    """One backward pass per domain for E and D."""

    def __init__(self, model: nn.Module, judge: nn.Module, factor: float = 1.0, length: int = 4) -> None:
        super().__init__(model, judge=judge)
        self.judge, self.factor, self.length = judge, factor, length

    def step(self) -> None:
        strength = self.factor * (2 / (1 + np.exp(-10 * self.iteration / self.length)) - 1)
        for domain, label in (('source', 0.0), ('target', 1.0)):
            maps, scores = self.forward(domain)
            loss = self.cross_entropy(scores) if domain == 'source' else 0
            del scores
            self.seed(f'feature_discriminator/{domain}')
            (loss + bce(self.judge(TrueReversal.apply(maps[-1], strength)), label)).backward()


class PlainConfusion(PlainStep):
    """Global alignment of FCNs in the Wild: E first, with D as it was; limits on class sizes beside it if wanted."""

    def __init__(
        self, model: nn.Module, judge: nn.Module, weight: float = 0.1, sizes: 'PlainClassSizes | None' = None
    ) -> None:
        super().__init__(model, judge=judge)
        self.judge, self.weight, self.sizes = judge, weight, sizes

    def ask(self, maps: Tensor, domain: str) -> Tensor:
        self.seed(f'feature_discriminator/{domain}')
        return self.judge(maps)

    def step(self) -> None:
        freeze(self.judge)
        embedded = {}
        for domain in ('source', 'target'):
            maps, scores = self.forward(domain)
            logits = self.ask(maps[-1], domain)
            loss = self.weight * 0.5 * (bce(logits, 0.0) + bce(logits, 1.0))
            if domain == 'source':
                loss = self.cross_entropy(scores) + loss
            elif self.sizes is not None:
                loss = loss + self.sizes.loss(self.heads[0].forward(maps))
            embedded[domain] = maps[-1].detach()
            del maps, scores
            loss.backward()
        freeze(self.judge, False)
        for domain, label in (('source', 0.0), ('target', 1.0)):
            bce(self.ask(embedded[domain], domain), label).backward()


def minent(probabilities: Tensor) -> Tensor:
    n, c, h, w = probabilities.size()
    return -torch.sum(torch.mul(probabilities, torch.log2(probabilities + 1e-30))) / (n * h * w * np.log2(c))


def max_square(probabilities: Tensor) -> Tensor:
    return -(probabilities**2).sum(1).mean() / 2


def image_wise(probabilities: Tensor, ratio: float = 0.2, half: float = 1.0) -> Tensor:
    """The released code's weights, without its division by the number of classes."""
    weights = []
    for image in probabilities.argmax(1):
        counts = np.bincount(image.numpy().ravel(), minlength=probabilities.shape[1]).astype(np.float64)
        weight = 1 / np.maximum(counts**ratio * counts.sum() ** (1 - ratio), 1)
        weights.append(torch.from_numpy(weight)[image].to(probabilities))
    return -half * (probabilities**2 * torch.stack(weights)[:, None]).sum() / len(probabilities)


class PlainTargetLoss(PlainStep):
    """Losses of the target's probabilities: (head, weight, loss) each."""

    def __init__(self, model: nn.Module, terms: Sequence[tuple[int, float, Callable[[Tensor], Tensor]]]) -> None:
        super().__init__(model)
        self.terms = terms

    def step(self) -> None:
        super().step()
        scores = self.forward('target')[1]
        sum(weight * loss(F.softmax(scores[head], dim=1)) for head, weight, loss in self.terms).backward()


def full_cells(labels: Tensor, size: Sequence[int], classes: Sequence[int], min_share: float) -> np.ndarray:
    """NumPy: where one of the classes fills its block of labels (N, H, W), as DAFormer scales labels down."""
    height, width = size
    blocks = labels.numpy().reshape(len(labels), height, labels.shape[1] // height, width, labels.shape[2] // width)
    return np.any([(blocks == one).mean((2, 4)) >= min_share for one in classes], axis=0)


class PlainFeatureDistance(PlainStep):
    """DAFormer's source pass: cross entropy, then the distance, two backward passes."""

    def __init__(
        self,
        model: nn.Module,
        initial: nn.Module,
        classes: Sequence[int] = (0, 3),
        min_share: float = 0.75,
        weight: float = 0.1,
    ) -> None:
        super().__init__(model)
        self.initial, self.classes, self.min_share, self.weight = initial, classes, min_share, weight

    def step(self) -> None:
        maps, scores = self.forward('source')
        self.cross_entropy(scores).backward(retain_graph=True)
        with torch.no_grad():
            before = self.initial(self.images['source'])[-1]
        distances = torch.norm(maps[-1] - before, dim=1, p=2)
        chosen = torch.from_numpy(full_cells(self.labels, distances.shape[1:], self.classes, self.min_share))
        if chosen.any():
            (self.weight * distances[chosen].mean()).backward()


class PlainClassSizes(PlainStep):
    """p - q on the scores, tenfold less for classes with a lower limit above .1.

    ``limits`` are lower one, mean and upper one (3, C), NaN for unknown classes; ``solve(log_shares, lower, upper)``
    finds q (C, P).
    """

    def __init__(
        self,
        model: nn.Module,
        limits: np.ndarray,
        solve: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
        presence: float = 0.1,
        big_factor: float = 0.1,
        weight: float = 0.5,
        stride: int = 1,
    ) -> None:
        super().__init__(model)
        self.limits, self.solve, self.stride = limits, solve, stride
        self.presence, self.big_factor, self.weight = presence, big_factor, weight

    def step(self) -> None:
        super().step()
        self.seed('encoder/target')
        self.loss(self.heads[0].forward(self.model.backbone(self.images['target']))).backward()

    def loss(self, scores: Tensor) -> Tensor:
        scores = scores[0, :, :: self.stride, :: self.stride].flatten(1)
        values = scores.detach().log_softmax(0).numpy()
        lower, mean, upper = self.limits
        predicted = np.bincount(values.argmax(0), minlength=len(lower)) / values.shape[1]
        present = predicted > self.presence * lower
        targets = self.solve(values, np.where(present, mean, 0), np.where(present, upper, np.inf))
        factor = torch.tensor(np.where(lower > 0.1, self.big_factor, 1.0)).to(scores)[:, None]
        gradient = factor * (F.softmax(scores.detach(), 0) - torch.from_numpy(targets)) / values.shape[1]
        return (scores * (self.weight * gradient)).sum()


class PlainCurriculum(PlainStep):
    """Cross entropies with label distributions (iterations, C) and landmarks (iterations, 256), of one picture each.

    ``superpixels(iteration)`` gives their numbers (H, W).
    """

    def __init__(
        self,
        model: nn.Module,
        distributions: Tensor,
        landmarks: Tensor,
        superpixels: Callable[[int], np.ndarray],
        sharpness: float = 6.0,
        weights: tuple[float, float] = (0.2, 0.3),
    ) -> None:
        super().__init__(model)
        self.distributions, self.landmarks, self.superpixels = distributions, landmarks, superpixels
        self.sharpness, self.weights = sharpness, weights

    def step(self) -> None:
        super().step()
        self.seed('encoder/target')
        scores = self.heads[0].forward(self.model.backbone(self.images['target']))
        probabilities = F.softmax(scores, 1)[0]
        answers = (probabilities / probabilities.amax(0)) ** self.sharpness
        share = answers.mean((1, 2)) / answers.mean((1, 2)).sum()
        loss = -self.weights[0] * (self.distributions[self.iteration] * share.log()).sum()
        (height, width), (rows, columns) = answers.shape[1:], self.labels.shape[1:]
        # nearest-exact: the pixel at the middle of a cell
        rows = (np.arange(height) + 0.5) * rows / height
        columns = (np.arange(width) + 0.5) * columns / width
        regions = self.superpixels(self.iteration)[rows.astype(int)][:, columns.astype(int)]
        classes, terms = self.landmarks[self.iteration], []
        for region in np.unique(regions):
            if classes[region] != IGNORED:
                means = answers[:, torch.from_numpy(regions == region)].mean(1)
                terms.append(-(means[int(classes[region])] / means.sum()).log())
        (loss + self.weights[1] * sum(terms) / max(len(terms), 1)).backward()


class PlainSelfTraining(PlainStep):
    """DACS's step: the teacher first, then the mixed (and the masked) loss, then the source's."""

    def __init__(
        self,
        model: nn.Module,
        jitter: Callable[[Tensor, nn.Module], Tensor],
        threshold: float,
        momentum: float,
        begin: int = 0,
        masked: float = 0.0,
        block: int = 16,
        ignored_rows: tuple[int, int] = (0, 0),
        learn_source: Callable[[int, dict[str, Tensor], Tensor], None] | None = None,
    ) -> None:
        super().__init__(model)
        self.jitter, self.threshold, self.momentum, self.begin = jitter, threshold, momentum, begin
        self.masked, self.block, self.ignored_rows, self.learn_source = masked, block, ignored_rows, learn_source
        self.student = nn.ModuleList([model.backbone, model.decode_head])
        self.teacher: nn.ModuleList | None = None

    def step(self) -> None:
        if self.iteration >= self.begin:
            self.move_teacher()
            self.learn_target(*self.ask_teacher())
        if self.learn_source is None:
            super().step()
        else:
            self.learn_source(self.iteration, self.images, self.labels)

    def move_teacher(self) -> None:
        if self.teacher is None:
            self.teacher = copy.deepcopy(self.student).eval().requires_grad_(False)
            return
        alpha = min(1 - 1 / (self.iteration - self.begin + 1), self.momentum)
        with torch.no_grad():
            for own, other in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                own.lerp_(other, 1 - alpha)

    @torch.no_grad()
    def ask_teacher(self) -> tuple[Tensor, Tensor]:
        backbone, head = self.teacher
        confidence, labels = self.upsample(head.forward(backbone(self.images['target']))).softmax(1).max(1)
        weight = torch.ones_like(confidence) * (confidence >= self.threshold).float().mean()
        top, bottom = self.ignored_rows
        weight[:, :top] = 0
        weight[:, weight.shape[1] - bottom :] = 0
        return labels, weight

    def learn_target(self, pseudo: Tensor, weight: Tensor) -> None:
        self.seed('self_training/class_mix')
        mask = torch.zeros_like(self.labels, dtype=torch.bool)
        for index, label in enumerate(self.labels):
            present = sorted(set(label.unique().tolist()) - {IGNORED})
            draws = torch.rand(256)
            chosen = sorted(present, key=lambda c, draws=draws: draws[c].item())[: math.ceil(len(present) / 2)]
            mask[index] = torch.isin(label, torch.tensor(chosen))
        mixed = torch.where(mask[:, None], self.images['source'], self.images['target'])
        self.learn('mixed', mixed, torch.where(mask, self.labels, pseudo), torch.where(mask, 1.0, weight), 1.0)
        if self.masked:
            self.learn('masked', self.images['target'], pseudo, weight, self.masked)

    def learn(self, name: str, images: Tensor, labels: Tensor, weight: Tensor, factor: float) -> None:
        self.seed(f'self_training/jitter/{name}')
        images = self.jitter(images, self.model.data_preprocessor)
        if name == 'masked':
            self.seed('self_training/masks')
            rows, columns = (side // self.block for side in images.shape[2:])
            blocks = (torch.rand(len(images), 1, rows, columns) > 0.7).float()
            images = images * blocks.repeat_interleave(self.block, 2).repeat_interleave(self.block, 3)
        self.images[name] = images
        (factor * self.cross_entropy(self.forward(name)[1], labels, weight)).backward()
        del self.images[name]
