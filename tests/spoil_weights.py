"""A hook that breaks a run: it makes weights of the backbone NaN."""

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
