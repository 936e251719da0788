"""Adapt BatchNorm's statistics to the target before a test."""

from itertools import islice

import torch
from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm

from cda_mmseg.engine.data_checks import build_training_set
from cda_mmseg.engine.sampling import PositionedDataset
from cda_mmseg.utils.randomness import stable_hash


@HOOKS.register_module()
class BatchNormAdaptationHook(Hook):
    """Replace the running statistics of every BatchNorm by those of target pictures before a test (AdaBN).

    Li et al., Revisiting Batch Normalization For Practical Domain Adaptation, 2016. The pictures are the config's
    ``target_dataloader``'s, without labels; means and variances are averaged over its batches, those of all processes.
    Nothing is saved.

    Args:
        images (int): Number of pictures of all processes, in the order of a training run of this seed.

    Raises:
        ValueError: If the network has no BatchNorm with running statistics, or the config no target.
    """

    def __init__(self, images: int = 256) -> None:
        self.images = images

    @torch.no_grad()
    def before_test_epoch(self, runner: Runner) -> None:
        """Measure the statistics."""
        runner.model.eval()  # mmengine does so after this hook: dropout would have a part in the statistics
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
        if not layers:
            raise ValueError(
                'BatchNormAdaptationHook: the network has no BatchNorm whose statistics could be adapted. Leave the '
                'hook out, or test a network with BatchNorm.'
            )
        loader = runner.cfg.get('target_dataloader')
        if loader is None:
            raise ValueError('BatchNormAdaptationHook: the config has no target_dataloader to take pictures from.')
        dataset = build_training_set(loader['dataset'], 'target_dataloader.dataset')
        positioned = PositionedDataset(dataset, stable_hash(runner.seed, 'target'))
        loader = {key: value for key, value in loader.items() if key != 'order'}
        batches = runner.build_dataloader({**loader, 'dataset': positioned}, seed=runner.seed)
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
            layer.train()
        for batch in islice(batches, -(-self.images // (batches.batch_size * get_world_size()))):
            model(model.data_preprocessor(batch)['inputs'], mode='tensor')
        all_reduce_params([value for layer in layers for value in (layer.running_mean, layer.running_var)], op='mean')
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
