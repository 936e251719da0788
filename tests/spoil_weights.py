"""Hooks that break a run: weights of the backbone are NaN, or its gradients infinite."""

from mmengine.hooks import Hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class SpoilWeights(Hook):
    """Overwrite a weight in front of an iteration.

    Args:
        iteration (int): Index of the iteration.
    """

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            next(runner.model.backbone.parameters()).data.fill_(float('nan'))


@HOOKS.register_module()
class SpoilGradients(Hook):
    """Make gradients of the backbone infinite, in every iteration."""

    def before_train(self, runner):
        next(runner.model.backbone.parameters()).register_hook(lambda gradient: gradient * float('inf'))
