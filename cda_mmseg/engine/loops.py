"""The training loop: mmengine's own, fed with one batch from each domain."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmengine.dist import get_dist_info
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import LOOPS
from torch.utils.data import DataLoader

from cda_mmseg.engine.data_checks import build_training_set, check_classes, check_domains_differ
from cda_mmseg.engine.progress import TrainingProgress
from cda_mmseg.engine.randomness import stable_hash
from cda_mmseg.engine.sampling import PositionedDataset, PositionSampler, report_skipped

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors import UDASegmentor


class PairedIterator:
    """Yield ``dict(source=..., target=...)`` from two endless loaders, starting wherever the run stands.

    While a resumed loop catches up, only the position moves. OneDL's mmengine catches up with ``skip_iter(n)``,
    OpenMMLab's with n calls of ``next``; the latter also starts the source's workers early, whose first batches are
    then thrown away.

    Args:
        loop (UDATrainLoop): The loop that is fed.
    """

    def __init__(self, loop: 'UDATrainLoop') -> None:
        self._loop = loop
        self._caught_up = 0
        self._iterators: dict[str, Iterator] = {}

    def __iter__(self) -> 'PairedIterator':
        return self

    def skip_iter(self, num_iters: int) -> None:
        """Move past iterations that were trained before.

        Args:
            num_iters (int): How many.
        """
        self._caught_up += num_iters

    def __next__(self) -> dict | None:
        if not self._iterators:
            if self._caught_up < self._loop.iter:
                self.skip_iter(1)
                return None
            self._iterators = self._loop.start_loaders()
        return {domain: next(iterator) for domain, iterator in self._iterators.items()}


@LOOPS.register_module()
class UDATrainLoop(IterBasedTrainLoop):
    """Iteration-based training on a labelled source and an unlabelled target.

    The source is the runner's ``train_dataloader``, the target belongs to ``train_cfg``. Both need
    ``sampler=dict(type='PositionSampler')``: order and augmentation follow from (seed, global position), and the
    checkpoint keeps the samples consumed, so a run may go on with another number of processes.

    Args:
        runner (Runner): The runner.
        dataloader (dict): Config of the source loader.
        max_iters (int): Length of the run in iterations.
        target_dataloader (dict | None): Config of the target loader; by default the config's top-level key
            ``target_dataloader``, which stands beside ``train_dataloader`` there. It is built only for models that
            train on the target.
        val_begin (int): First iteration that may be validated.
        val_interval (int): Iterations between validations.
        dynamic_intervals (list[tuple[int, int]] | None): (iteration, interval) pairs that change ``val_interval``.
        on_error (str): 'raise' stops at a damaged training file and names it; 'skip' goes on without it, counts it and
            lists it at the end.

    Raises:
        TypeError: If a loader is not a config dict.
        KeyError: If a loader has no data set.
        OSError: If a folder of a data set is missing or may not be read.
        ValueError: If a loader has another sampler than ``PositionSampler`` or no images, the source other classes than
            the decode head, or the target no images of its own.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: dict,
        max_iters: int,
        target_dataloader: dict | None = None,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        on_error: str = 'raise',
    ) -> None:
        self.on_error = on_error
        self.skipped: list[str] = []
        source = self._build_loader(runner, dataloader, 'source', 'train_dataloader')
        super().__init__(runner, source, max_iters, val_begin, val_interval, dynamic_intervals)
        check_classes(source.dataset, self._model(runner).decode_head.num_classes, 'train_dataloader.dataset')
        self.loaders = {'source': source}
        if 'target' in self._model(runner).domains:
            target_dataloader = target_dataloader or runner.cfg.get('target_dataloader')
            self.loaders['target'] = self._build_loader(runner, target_dataloader, 'target', 'target_dataloader')
            check_domains_differ({name: loader.dataset.dataset for name, loader in self.loaders.items()})
        self.dataloader_iterator = PairedIterator(self)

    @staticmethod
    def _model(runner: Runner) -> 'UDASegmentor':
        return runner.model.module if is_model_wrapper(runner.model) else runner.model

    def _build_loader(self, runner: Runner, config: dict, domain: str, key: str) -> DataLoader:
        if not isinstance(config, dict):
            raise TypeError(f'The config key {key} must be a dict that describes the {domain} loader, got {config!r}.')
        sampler = config.get('sampler') or {}
        if sampler.get('type') not in ('PositionSampler', PositionSampler):
            raise ValueError(f"{key}.sampler must be dict(type='PositionSampler'), got {sampler!r}.")
        if 'dataset' not in config:
            raise KeyError(f'{key} has no dataset, only {sorted(config)}.')
        dataset = build_training_set(config['dataset'], f'{key}.dataset')
        # Each domain has a seed of its own: with one seed both would draw the same indices and the same crops.
        positioned = PositionedDataset(dataset, stable_hash(runner.seed, domain), self.on_error)
        return runner.build_dataloader({**config, 'dataset': positioned}, seed=runner.seed)

    @property
    def samples_consumed(self) -> dict[str, int]:
        """dict[str, int]: Samples all processes have taken from each domain, as the checkpoint keeps them."""
        saved = self.runner.message_hub.runtime_info.get('samples_consumed')
        if saved is not None:
            return {domain: saved.get(domain, 0) for domain in self.loaders}
        world_size = get_dist_info()[1]
        return {domain: self.iter * loader.batch_size * world_size for domain, loader in self.loaders.items()}

    def start_loaders(self) -> dict[str, Iterator]:
        """Start both loaders where the run stands.

        Returns:
            dict[str, Iterator]: One endless iterator per domain.
        """
        for domain, consumed in self.samples_consumed.items():
            self.loaders[domain].sampler.start = consumed
        return {domain: iter(loader) for domain, loader in self.loaders.items()}

    def run_iter(self, data_batch: dict) -> None:
        """Take one training step.

        Args:
            data_batch (dict): One batch per domain.
        """
        rank, world_size = get_dist_info()
        for batch in data_batch.values():
            self.skipped += report_skipped(batch['data_samples'])
        # Hooks that save a checkpoint after this step must find this batch already counted.
        consumed = self.samples_consumed
        for domain, loader in self.loaders.items():
            consumed[domain] += loader.batch_size * world_size
        self.runner.message_hub.update_info('samples_consumed', consumed)
        self.runner.message_hub.update_info('world_size', world_size)

        self._model(self.runner).set_progress(TrainingProgress(self.iter, self.max_iters, self.runner.seed, rank))
        super().run_iter(data_batch)

    def run(self) -> object:
        """Launch training and list the damaged files that were skipped.

        Returns:
            nn.Module: The trained model.
        """
        self._warn_of_another_world_size()
        try:
            model = super().run()
        except RuntimeError as error:
            # gloo and NCCL say which socket broke, but not what that means
            if get_dist_info()[1] > 1 and any(word in str(error) for word in ('Connection', 'gloo', 'NCCL')):
                error.add_note(
                    'Another process of this run is gone. Its own message says why; the last checkpoint stands, '
                    'go on with --resume auto.'
                )
            raise
        if self.skipped:
            listing = '\n  '.join(sorted(set(self.skipped)))
            self.runner.logger.warning(f'{len(self.skipped)} damaged training samples were skipped:\n  {listing}')
        return model

    def _warn_of_another_world_size(self) -> None:
        """Say what does and what does not follow the number of processes, if it is not that of before."""
        world_size = get_dist_info()[1]
        former = self.runner.message_hub.get_info('world_size', world_size)
        if former != world_size:
            self.runner.logger.warning(
                f'This run goes on with {world_size} instead of {former} processes. No sample is left out or used '
                f'twice, but an iteration now takes {world_size} instead of {former} batches, and learning rates, '
                'milestones, the warm start and max_iters stay with the iteration counter.'
            )
