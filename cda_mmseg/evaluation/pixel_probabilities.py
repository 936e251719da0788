"""Keep the class probabilities of sampled pixels, for scores that need no labels."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS
from torch import Tensor

from cda_mmseg.datasets.transforms.tag_domain import role_of
from cda_mmseg.evaluation.entropy import class_probabilities


@METRICS.register_module()
class PixelProbabilities(BaseMetric):
    """Collect the class probabilities of some pixels of each image.

    The pixels are drawn by the number of the image: they are the same for every network that sees the images in the
    same order.

    Args:
        pixels (int): Pixels per image.

    Attributes:
        found (dict[str, Tensor]): 'source' and 'target' → probabilities (M, C), float32, on the CPU, of the last
            evaluation.
    """

    default_prefix = ''

    def __init__(self, pixels: int = 1000) -> None:
        super().__init__()
        self.pixels = pixels
        self.found: dict[str, Tensor] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the probabilities of a batch of predictions, which say their ``domain``."""
        for sample in data_samples:
            scores = sample['seg_logits']['data'].flatten(1)
            generator = torch.Generator().manual_seed(len(self.results))
            chosen = torch.randint(scores.shape[1], (self.pixels,), generator=generator)
            probabilities = class_probabilities(scores[:, chosen.to(scores.device)].float())
            self.results.append((role_of(sample['domain']), probabilities.T.cpu()))

    def compute_metrics(self, results: list[tuple[str, Tensor]]) -> dict[str, float]:
        """Put the pixels of each domain together; there is nothing to score yet."""
        roles = dict.fromkeys(role for role, _ in results)
        self.found = {role: torch.cat([rows for of, rows in results if of == role]) for role in roles}
        return {}
