"""The training loop: mmengine's own, fed with one batch from each domain."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmengine.dist import get_dist_info, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.models import SegDataPreProcessor
from mmseg.registry import LOOPS
from torch import nn
from torch.utils.data import DataLoader, Dataset

from cda_mmseg.datasets.joined import JoinedDataset
from cda_mmseg.datasets.listing import check_listing
from cda_mmseg.engine.composition import COMPOSED_KEYS
from cda_mmseg.engine.data_checks import (
    build_training_set,
    check_class_order,
    check_classes,
    check_domains_differ,
    check_metrics,
    check_scored_data,
    check_unseen,
)
from cda_mmseg.engine.in_force import check_in_force, describe_run
from cda_mmseg.engine.label_checks import check_has_labels, check_labels_as_read, check_reads_no_labels
from cda_mmseg.engine.optim import PlayerOptimWrapperDict
from cda_mmseg.engine.orders import build_order
from cda_mmseg.engine.runner import UDARunner
from cda_mmseg.engine.sampling import PositionedDataset, PositionSampler, report_skipped
from cda_mmseg.utils.progress import TrainingProgress
from cda_mmseg.utils.randomness import stable_hash

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


def _check_model(model: nn.Module) -> None:
    if not hasattr(model, 'active_adaptations'):
        raise TypeError(
            f'UDATrainLoop trains a UDASegmentor, but model.type is {type(model).__name__}. Set '
            "model.type='UDASegmentor', which is the same without adaptations, or use mmengine's loop: "
            "train_cfg.type='IterBasedTrainLoop', train_dataloader.sampler.type='InfiniteSampler'."
        )
    preprocessor = model.data_preprocessor
    if isinstance(preprocessor, SegDataPreProcessor) and not (preprocessor.size or preprocessor.size_divisor):
        raise ValueError('model.data_preprocessor needs size=(height, width), that of the crops, or size_divisor.')


def _check_optimizers(config: OptimWrapper | dict | None) -> None:
    """Refuse mmengine's form for one optimizer before it is built."""
    is_single = isinstance(config, OptimWrapper) and not isinstance(config, OptimWrapperDict)
    if is_single or (isinstance(config, dict) and 'constructor' not in config):
        raise TypeError(
            'optim_wrapper must name the player of each optimizer, also where there is one: '
            "optim_wrapper=dict(_delete_=True, constructor='PlayerOptimWrapperConstructor', "
            "encoder=dict(type='OptimWrapper', optimizer=dict(...)))."
        )


@LOOPS.register_module()
class UDATrainLoop(IterBasedTrainLoop):
    """Iteration-based training on a labelled source, an unlabelled target and, if there are some, a few target labels.

    The source is the runner's ``train_dataloader``, the target belongs to ``train_cfg``. Both need
    ``sampler=dict(type='PositionSampler')``: order and augmentation follow from (seed, global position), and the
    checkpoint keeps the samples consumed, so a run may go on with another number of processes. A loader's ``order``,
    such as ``dict(type='RareClassOrder')``, takes the place of one permutation per epoch.

    The config's top-level key ``labelled_target``, ``dict(dataset=..., share=...)``, adds labelled pictures of the
    target to the source, of whose samples they are the given share.

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
        TypeError: If a loader is not a config dict, the model no ``UDASegmentor``, or there is one optimizer for all.
        KeyError: If a loader has no data set.
        OSError: If a folder of a data set is missing or may not be read.
        ValueError: If a loader has another sampler than ``PositionSampler`` or no images, the target's reads labels,
            the source other classes than the decode head or ``labelled_target``, or either of the target's data no
            images of its own; if the run, or what lies between its validations, is no number of iterations; if images
            have no size to be padded to; or if the config was not composed.
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
        of_our_runner = () if isinstance(runner, UDARunner) else ('branch_from',)
        unread = [key for key in (*COMPOSED_KEYS, *of_our_runner) if runner.cfg.get(key)]
        if unread:
            raise ValueError(
                f"The config keys {unread} are not in force: set runner_type='mmseg.UDARunner', as "
                'configs/_base_/default_runtime.py does, or read the config with cda_mmseg.engine.read_config.'
            )
        _check_model(self._model(runner))
        _check_optimizers(runner.optim_wrapper)
        if not isinstance(max_iters, int) or max_iters < 1:
            raise ValueError(f'train_cfg.max_iters must be an integer of at least 1, got {max_iters!r}.')
        for place, interval in [('', val_interval), *(dynamic_intervals or ())]:
            if not isinstance(interval, int) or interval < 1:
                key = f'dynamic_intervals (from iteration {place})' if place else 'val_interval'
                raise ValueError(
                    f'train_cfg.{key} must be an integer of at least 1, got {interval!r}. For a run without validation '
                    'set val_cfg, val_dataloader and val_evaluator to None; for one at the end alone, val_interval to '
                    'max_iters.'
                )
        self.data_sets = {'source': self._build_data_set(dataloader, 'source', 'train_dataloader')}
        labelled = runner.cfg.get('labelled_target')
        self.labelled_share = labelled.share if labelled else 0.0
        source = self._build_source(runner, dataloader, labelled)
        super().__init__(runner, source, max_iters, val_begin, val_interval, dynamic_intervals)
        check_classes(source.dataset, self._model(runner), 'train_dataloader.dataset')
        if names := source.dataset.metainfo.get('classes'):
            self._model(runner).class_names = tuple(names)
        self.loaders = {'source': source}
        if 'target' in self._model(runner).domains:
            target_dataloader = target_dataloader or runner.cfg.get('target_dataloader')
            self.data_sets['target'] = self._build_data_set(target_dataloader, 'target', 'target_dataloader')
            self.loaders['target'] = self._build_loader(
                runner, target_dataloader, 'target', self.data_sets['target'], target_dataloader.get('order')
            )
            check_domains_differ(self.data_sets['source'], self.data_sets['target'], 'target_dataloader.dataset')
        check_listing((runner.cfg.get('val_dataloader') or {}).get('dataset'), 'val_dataloader.dataset')
        self.dataloader_iterator = PairedIterator(self)

    @staticmethod
    def _model(runner: Runner) -> 'UDASegmentor':
        return runner.model.module if is_model_wrapper(runner.model) else runner.model

    def _build_data_set(self, config: dict, domain: str, key: str) -> Dataset:
        if not isinstance(config, dict):
            raise TypeError(f'The config key {key} must be a dict that describes the {domain} loader, got {config!r}.')
        sampler = config.get('sampler') or {}
        if sampler.get('type') not in ('PositionSampler', PositionSampler):
            raise ValueError(f"{key}.sampler must be dict(type='PositionSampler'), got {sampler!r}.")
        if 'dataset' not in config:
            raise KeyError(f'{key} has no dataset, only {sorted(config)}.')
        return self._build_checked(config['dataset'], f'{key}.dataset')

    def _build_checked(self, config: dict, key: str) -> Dataset:
        dataset = build_training_set(config, key, self.on_error == 'skip')
        if key == 'target_dataloader.dataset':
            check_reads_no_labels(dataset, key)
        if is_main_process():
            check_labels_as_read(dataset, key, True, skips_damaged=self.on_error == 'skip')
            if key != 'target_dataloader.dataset':
                check_has_labels(dataset, key)
        return dataset

    def _build_source(self, runner: Runner, config: dict, labelled: dict | None) -> DataLoader:
        """Build the loader of what has labels."""
        dataset, order = self.data_sets['source'], config.get('order')
        if labelled:
            key = 'labelled_target.dataset'
            few = self._build_checked(labelled.dataset, key)
            check_domains_differ(dataset, few, key)
            dataset = JoinedDataset([dataset, few], ['train_dataloader.dataset', key])
            shares = [1 - labelled.share, labelled.share]
            order = dict(type='SharesOrder', shares=shares, orders=[order, None])
        return self._build_loader(runner, config, 'source', dataset, order)

    def _build_loader(
        self, runner: Runner, config: dict, domain: str, dataset: Dataset, order: dict | None
    ) -> DataLoader:
        # Each domain has a seed of its own: with one seed both would draw the same indices and the same crops.
        seed = stable_hash(runner.seed, domain)
        positioned = PositionedDataset(dataset, seed, self.on_error, build_order(order, dataset, seed))
        loader = {key: value for key, value in config.items() if key != 'order'}
        return runner.build_dataloader({**loader, 'dataset': positioned}, seed=runner.seed)

    @property
    def samples_consumed(self) -> dict[str, int]:
        """dict[str, int]: Samples all processes have taken from each domain, as the checkpoint keeps them."""
        saved = self.runner.message_hub.runtime_info.get('samples_consumed')
        if saved is not None:
            return {domain: saved.get(domain, 0) for domain in self.loaders}
        world_size = get_dist_info()[1]
        return {domain: self.iter * loader.batch_size * world_size for domain, loader in self.loaders.items()}

    def start_loaders(self) -> dict[str, Iterator]:
        """Start both loaders where the run stands, and say what is in force; a resumed run knows that no earlier.

        Returns:
            dict[str, Iterator]: One endless iterator per domain.
        """
        for domain, consumed in self.samples_consumed.items():
            self.loaders[domain].sampler.start = consumed
        self.runner.logger.info(describe_run(self, self._model(self.runner)))
        return {domain: iter(loader) for domain, loader in self.loaders.items()}

    def run_iter(self, data_batch: dict) -> None:
        """Take one training step."""
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
        self._drop_ended_terms()
        # Hooks that save after the first step find the key in its place, as after any other.
        terms = self.runner.message_hub.get_info('adaptation_terms', {})
        self.runner.message_hub.update_info('adaptation_terms', terms)
        super().run_iter(data_batch)
        self.runner.message_hub.update_info('adaptation_terms', self._model(self.runner).logged_terms)

    def _drop_ended_terms(self) -> None:
        """Take an ended adaptation's terms out of the log, to whose end mmengine would repeat their last values."""
        hub, active = self.runner.message_hub, self._model(self.runner).active_adaptations()
        for adaptation, terms in hub.get_info('adaptation_terms', {}).items():
            for term in terms if adaptation not in active else ():
                hub.log_scalars.pop(f'train/{term}', None)

    def run(self) -> object:
        """Launch training and list the damaged files that were skipped."""
        check_in_force(self.runner, self._model(self.runner))
        self._check_validation_data()
        self._warn_of_another_world_size()
        for adaptation in self._model(self.runner).adaptations.values():
            adaptation.study(self.data_sets)
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
        if isinstance(self.runner.optim_wrapper, PlayerOptimWrapperDict):
            self.runner.optim_wrapper.report_left_out_updates()
        if self.skipped:
            listing = '\n  '.join(sorted(set(self.skipped)))
            self.runner.logger.warning(f'{len(self.skipped)} damaged training samples were skipped:\n  {listing}')
        return model

    def _check_validation_data(self) -> None:
        """Find at the start what would otherwise stop the run at its first validation, or score it wrongly."""
        validation = self.runner.val_loop
        if validation is not None:
            dataset = validation.dataloader.dataset
            check_scored_data(dataset, self._model(self.runner), 'val_dataloader.dataset')
            check_class_order(self.loaders['source'].dataset, dataset, 'val_dataloader.dataset')
            check_unseen(self.loaders['source'].dataset.dataset, dataset, 'val_dataloader.dataset')
            check_metrics(validation.evaluator.metrics, dataset, 'val_evaluator')

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
