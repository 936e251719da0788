"""Measure how hard each loss pulls at the encoder, on a checkpoint."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import DataLoader

from cda_mmseg.engine.checkpointing.fitting import check_fit
from cda_mmseg.engine.sampling import PositionedDataset
from cda_mmseg.models.adaptations import find_adversary
from cda_mmseg.utils.loading import load_checkpoint_file
from cda_mmseg.utils.progress import TrainingProgress
from cda_mmseg.utils.randomness import stable_hash

CROSS_ENTROPY = dict(type='SoftmaxCrossEntropyLoss')


@dataclass(frozen=True)
class GradientSizes:
    """Norms of the gradients on E at one state of a model, each the median over batches.

    Attributes:
        iteration (int): Iterations that the checkpoint had trained.
        batches (int): Number of batches.
        adversarial_weight (float): Weight of E's adversarial term in the config.
        adversarial (float): Norm of the adversarial term's gradient at weight 1.
        cross_entropy (float): Norm of the cross entropy's gradient.
        losses (Mapping[str, float]): Name → norm of the gradient of another segmentation loss, its weight included.
    """

    iteration: int
    batches: int
    adversarial_weight: float
    adversarial: float
    cross_entropy: float
    losses: Mapping[str, float]

    def ratio(self, loss: str | None = None, factor: float = 1.0) -> float:
        """Compute the ratio of adversarial to segmentation gradient.

        Args:
            loss (str | None): Name of a segmentation loss; None is the cross entropy.
            factor (float): Factor of the adversarial weight.

        Returns:
            float: The ratio.
        """
        return factor * self.adversarial_weight * self.adversarial / self._size(loss)

    def equal_ratio_factor(self, loss: str) -> float:
        """Compute the factor of the adversarial weight that gives a loss the ratio of the cross entropy.

        Args:
            loss (str): Name of a segmentation loss.

        Returns:
            float: The factor.
        """
        return self._size(loss) / self.cross_entropy

    def _size(self, loss: str | None) -> float:
        return self.cross_entropy if loss is None else self.losses[loss]

    def save(self, path: Path) -> None:
        """Write the sizes as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + '\n', encoding='utf-8')

    @classmethod
    def load(cls, path: Path) -> 'GradientSizes':
        """Read what :meth:`save` wrote.

        Returns:
            GradientSizes: The sizes.
        """
        return cls(**json.loads(path.read_text(encoding='utf-8')))


class GradientMeter(OptimWrapper):
    """Measure the gradient where an optimizer would apply it, and change nothing.

    Args:
        parameters (list[nn.Parameter]): The player's parameters.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(torch.optim.SGD(parameters, lr=0.0))
        self.norm = float('nan')

    def step(self) -> None:
        """Measure the Euclidean norm over all parameters."""
        gradients = [p.grad for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        self.norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))


def measure_gradient_sizes(
    config: Config, checkpoint: str | Path, losses: Mapping[str, dict], batches: int = 8, device: str = 'cpu'
) -> GradientSizes:
    """Measure adversarial and segmentation gradients on E with the training step itself.

    The batches are those that training would have taken next from the checkpoint, dropout and noise are on, and no
    weight changes.

    Args:
        config (Config): Config of a model with a GAN.
        losses (Mapping[str, dict]): Name → config of a segmentation loss without a warm start.
        batches (int): Number of batches.
        device (str): Device to compute on.

    Returns:
        GradientSizes: The norms.

    Raises:
        TypeError: If the model has no adversarial term.
        ValueError: If the checkpoint does not say how far it was trained.
    """
    init_default_scope(config.get('default_scope', 'mmseg'))
    model = MODELS.build(config.model)
    adversary = find_adversary(model)
    if adversary is None:
        raise TypeError(f'{type(model).__name__} has no adversarial term; give the config of a model with a GAN.')
    state = load_checkpoint_file(str(checkpoint))
    meta = state.get('meta', {})
    if 'iter' not in meta:
        raise ValueError(f'{checkpoint} does not say how many iterations it was trained; give one of a training run.')
    # the adversarial gradient is that of trained players
    check_fit(model, state, str(checkpoint), whole=True)
    model.load_state_dict(state['state_dict'])
    model.to(device).train()
    # The other players' updates would change nothing here.
    adversary.generator_adversarial_weight, adversary.reconstruction_weight = 0.0, 0.0
    adversary.encoder_adversarial_weight = 1.0
    meters = {name: GradientMeter(list(player.parameters())) for name, player in model.trained_players().items()}
    optim_wrapper = OptimWrapperDict(**meters)
    data = _next_batches(config, meta, batches)

    def measure(loss: dict, adversarial_weight: float) -> float:
        model.decode_head.loss_decode = MODELS.build(loss).to(device)
        adversary.encoder_adversarial_weight = adversarial_weight
        norms = []
        for index, batch in enumerate(data):
            iteration = meta['iter'] + index
            model.set_progress(TrainingProgress(iteration, config.train_cfg.max_iters, meta.get('seed') or 0))
            model.train_step(batch, optim_wrapper)
            norms.append(meters['encoder'].norm)
        return float(np.median(norms))

    return GradientSizes(
        iteration=meta['iter'],
        batches=batches,
        adversarial_weight=config.model.adaptations.image_adversary.encoder_adversarial_weight,
        adversarial=measure(dict(CROSS_ENTROPY, loss_weight=0.0), 1.0),
        cross_entropy=measure(CROSS_ENTROPY, 0.0),
        losses={name: measure(loss, 0.0) for name, loss in losses.items()},
    )


def _next_batches(config: Config, meta: Mapping, count: int) -> list[dict]:
    """Load the batches that a run would take next."""
    seed = meta.get('seed') or 0
    loaders = {}
    for domain, key in (('source', 'train_dataloader'), ('target', 'target_dataloader')):
        dataset = DATASETS.build(config[key].dataset)
        size = config[key].batch_size
        start = (meta.get('samples_consumed') or {}).get(domain, meta['iter'] * size)
        loaders[domain] = DataLoader(
            # The loop's own seed for this domain.
            PositionedDataset(dataset, stable_hash(seed, domain)),
            batch_size=size,
            sampler=range(start, start + count * size),
            collate_fn=pseudo_collate,
        )
    return [dict(zip(loaders, pair, strict=True)) for pair in zip(*loaders.values(), strict=True)]
