"""The tiny segmentor with adaptations, two of them made for the tests."""

import torch
from mmengine.optim import build_optim_wrapper
from mmseg.registry import MODELS
from torch import nn
from torch.nn import functional as F

from cda_mmseg.models.adaptations import Adaptation
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.segmentors.tiny_model import SEED, make_data, model_config, optimizer_config

OF_THE_PAPER = ('generator', 'discriminator', 'loss_gan')


@MODELS.register_module()
class Classifier(Adaptation):
    """A method with one player of its own, which learns to tell the domains from the last feature map."""

    players = ('classifier',)
    reads = {'target': 'features'}

    def __init__(self, player: str = 'classifier', channels: int = 16, begin: float = 0.0, end: float = 1.0) -> None:
        super().__init__(begin, end)
        self.players = (player,)
        self.add_module(player, nn.Conv2d(channels, 1, 1))

    def before_encoder(self, encoded, step):
        assert not any(level.requires_grad for maps in encoded.features.values() for level in maps)
        name = self.players[0]
        with step.context(name):
            loss = sum(
                F.softplus(sign * step.module(name)(encoded.features[domain][-1])).mean()
                for domain, sign in (('source', -1), ('target', 1))
            )
        return {f'{name}.loss': step.update(name, {'loss': loss})}

    def encoder_losses(self, encoded, step):
        name = self.players[0]
        assert not any(parameter.requires_grad for parameter in getattr(self, name).parameters())
        return {f'{name}.loss_confusion': 0.1 * F.softplus(-getattr(self, name)(encoded.features['target'][-1])).mean()}


@MODELS.register_module()
class Views(Adaptation):
    """Cross entropy on flipped source images, each with a graph of its own, weighted by pixel."""

    def __init__(self, count: int = 1, weight: float = 1.0) -> None:
        super().__init__()
        self.count = count
        self.weight = weight

    def connect(self, segmentor):
        self._segmentor = (segmentor,)

    def separate_losses(self, step):
        for view in range(self.count):
            images, labels = step.images['source'].flip(-1), step.labels['source'].flip(-1)
            scores = step.encode({f'view{view}': images}, [f'view{view}']).scores[f'view{view}']
            weight = torch.full(labels.shape, self.weight)
            yield self._segmentor[0].segmentation_losses(scores, labels, prefix=f'view{view}.', weight=weight)


def config(**adaptations) -> dict:
    base = {
        key: value for key, value in model_config().items() if key in ('backbone', 'decode_head', 'data_preprocessor')
    }
    return dict(type='UDASegmentor', **base, adaptations=adaptations)


def train(
    model, iterations=2, first=0, length=10, names=('encoder',), kind='SGD', accumulation=1, batch_size=1, data=None
):
    player = optimizer_config(kind, accumulation)['encoder']
    optimizers = build_optim_wrapper(
        model, dict(constructor='PlayerOptimWrapperConstructor', **dict.fromkeys(names, player))
    )
    logs = []
    for iteration in range(first, first + iterations):
        model.set_progress(TrainingProgress(iteration, length, SEED, 0))
        logs.append(model.train_step(data or make_data(iteration, batch_size), optimizers))
    return logs
