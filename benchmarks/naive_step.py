"""The paper's alternation written down plainly: every update starts again from the images, nothing is frozen.

It shares no code with the package but the networks themselves. Tests ask for its very weights, benchmarks for its time.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OTHER = {'source': 'target', 'target': 'source'}


def slot_seed(seed: int, iteration: int, rank: int, slot: str) -> int:
    """Return the documented seed of a forward: the first 63 bits of the SHA-256 of ``repr((...))``."""
    digest = hashlib.sha256(repr((seed, iteration, rank, slot)).encode()).hexdigest()
    return int(digest[:16], 16) >> 1


@dataclass
class NaiveStep:
    """Train a segmentor's networks without its training code.

    Attributes:
        model: A segmentor with ``backbone``, ``decode_head``, ``generator.networks`` and ``discriminator.networks``.
        optimizers: A plain torch optimizer per player.
        segmentation_loss: Function of (logits (N, C, H, W), labels (N, H, W)).
        mean, std: Of the input normalisation, shape (3, 1, 1).
        encoder_weight, generator_weight, reconstruction_weight: Weights of the adversarial terms and of L1.
        seed: The run's seed.
        accumulation: Iterations whose gradients are added up before a step.
        sequential: Whether each domain's terms have a backward pass of their own, so that one graph is in memory.
    """

    model: nn.Module
    optimizers: dict[str, torch.optim.Optimizer]
    segmentation_loss: Callable[[Tensor, Tensor], Tensor]
    mean: Tensor
    std: Tensor
    encoder_weight: float
    generator_weight: float
    reconstruction_weight: float
    seed: int = 0
    accumulation: int = 1
    sequential: bool = False

    def __call__(self, iteration: int, images: dict[str, Tensor], labels: Tensor) -> None:
        """Update D, then G, then E.

        Args:
            iteration: Index of the step.
            images: Normalised images (N, 3, H, W) of 'source' and 'target'.
            labels: The source's labels (N, H, W).
        """
        pictures = {domain: (image * self.std + self.mean) / 127.5 - 1 for domain, image in images.items()}
        last_of_cycle = (iteration + 1) % self.accumulation == 0

        self.update('discriminator', self.discriminator_terms(iteration, images, pictures), last_of_cycle)
        self.update('generator', self.generator_terms(iteration, images, pictures), last_of_cycle)
        self.update('encoder', self.encoder_terms(iteration, images, labels), last_of_cycle)

    def discriminator_terms(
        self, iteration: int, images: dict[str, Tensor], pictures: dict[str, Tensor]
    ) -> Iterator[Tensor]:
        for domain in images:
            fake = self.rebuild(iteration, domain, images).detach()
            yield self.judge(domain, pictures[domain], True) + self.judge(domain, fake, False)

    def generator_terms(
        self, iteration: int, images: dict[str, Tensor], pictures: dict[str, Tensor]
    ) -> Iterator[Tensor]:
        for domain in images:
            fake = self.rebuild(iteration, domain, images)
            adversarial, distance = self.judge(domain, fake, True), (fake - pictures[domain]).abs().mean()
            yield self.generator_weight * adversarial + self.reconstruction_weight * distance

    def encoder_terms(self, iteration: int, images: dict[str, Tensor], labels: Tensor) -> Iterator[Tensor]:
        features = self.embed(iteration, 'source', images)
        logits = self.model.decode_head.forward(features)
        logits = F.interpolate(logits, size=labels.shape[1:], mode='bilinear', align_corners=False)
        loss = self.segmentation_loss(logits, labels)
        adversarial = self.judge('target', self.rebuild(iteration, 'source', images, features), True)
        yield loss + self.encoder_weight * adversarial
        yield self.encoder_weight * self.judge('source', self.rebuild(iteration, 'target', images), True)

    def embed(self, iteration: int, domain: str, images: dict[str, Tensor]) -> list[Tensor]:
        """Run E with the masks of its slot."""
        torch.manual_seed(slot_seed(self.seed, iteration, 0, f'encoder/{domain}'))
        return list(self.model.backbone(images[domain]))

    def rebuild(
        self, iteration: int, domain: str, images: dict[str, Tensor], features: list[Tensor] | None = None
    ) -> Tensor:
        """Run E and G with the masks and the noise of their slots."""
        if features is None:
            features = self.embed(iteration, domain, images)
        torch.manual_seed(slot_seed(self.seed, iteration, 0, f'generator/{domain}'))
        networks = self.model.generator.networks
        network = networks[domain] if domain in networks else networks['both']
        return network(features, tuple(images[domain].shape[2:]))

    def judge(self, judge: str, picture: Tensor, wanted: bool) -> Tensor:
        """Run D and return the cross entropy of its answer: -log sigmoid(x) = softplus(-x)."""
        networks = self.model.discriminator.networks
        if 'both' in networks:
            logits = networks['both'](picture)[:, [('source', 'target').index(judge)]]
        else:
            logits = networks[judge](picture)
        return F.softplus(-logits if wanted else logits).mean()

    def update(self, player: str, terms: Iterator[Tensor], last_of_cycle: bool) -> None:
        """Back-propagate the terms through everything, and step one player with its own gradients.

        The other players' gradients of this backward are thrown away: kept aside before, put back after.
        """
        kept = {
            other: [parameter.grad for group in optimizer.param_groups for parameter in group['params']]
            for other, optimizer in self.optimizers.items()
            if other != player
        }
        for other in kept:
            self.optimizers[other].zero_grad(set_to_none=True)
        for loss in terms if self.sequential else [sum(terms)]:
            (loss / self.accumulation).backward()
        for other, gradients in kept.items():
            parameters = [parameter for group in self.optimizers[other].param_groups for parameter in group['params']]
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        if last_of_cycle:
            self.optimizers[player].step()
            self.optimizers[player].zero_grad(set_to_none=True)
