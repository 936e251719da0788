"""Checkpoints that survive kills, full disks and their own writing."""

import errno
import math
import os
import re

from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from cda_mmseg.engine.checkpointing.accumulation import at_end_of_accumulation
from cda_mmseg.engine.checkpointing.adaptations import adaptation_types
from cda_mmseg.engine.checkpointing.resume_point import (
    CHECKPOINT_NAME,
    POINTER,
    checkpoint_folder,
    checkpoint_names,
    points_into,
)
from cda_mmseg.engine.checkpointing.validation_record import record_validation, validation_due
from cda_mmseg.engine.hooks.fitting_hook import FittingHook
from cda_mmseg.engine.run_settings import RunSettings
from cda_mmseg.utils.arguments import lists_arguments
from cda_mmseg.utils.atomic_file import remove_incomplete, replaced_when_complete, write_text
from cda_mmseg.utils.finite import describe_non_finite
from cda_mmseg.utils.loading.errors import (
    CheckpointWriteError,
    NonFiniteStateError,
)

_OWN_FILE = re.compile(r'(best_.+_)?iter_\d+\.pth')


@HOOKS.register_module()
class AtomicCheckpointHook(FittingHook, CheckpointHook):
    """Save a run so that it can go on exactly where it was, whatever happens meanwhile.

    It takes the place of MMEngine's ``CheckpointHook``, whose names and message hub entries it keeps, and differs so:

    * A checkpoint gets its name once all of it is on the disk; so does the pointer file ``last_checkpoint``. Older ones
      are removed after that, not before.
    * A checkpoint that falls into an accumulation cycle waits for the cycle's end, as it cannot hold gradients.
    * The outcome of the validation at a checkpoint's iteration is written into it afterwards. A run resumed from a
      checkpoint whose validation a kill swallowed validates first.
    * Its meta data name the number of processes and the samples consumed, besides MMEngine's (the seed among them).
    * A run resumed under other rates, weight decay or schedules goes by its config's and says so, see
      :class:`RunSettings`.
    * Weights or optimizer states that are not finite are never written: the run stops, and the earlier ones stand.
    * Weights that fit only partly are refused, see :class:`FittingHook`.
    * Checkpoints lie in the run's folder, or in ``<out_dir>/<name of the run's folder>``, and no file elsewhere is ever
      touched, whatever a resumed checkpoint says.

    Args:
        interval (int): Iterations between checkpoints; -1 saves at the end only.
        by_epoch (bool): Accepted for configs written for MMEngine's hook; only False is.
        save_optimizer (bool): Whether checkpoints hold what resuming needs; otherwise they are weights, and no run can
            go on from them.
        out_dir (str | None): Folder for the folder of checkpoints; the run's own by default.
        max_keep_ckpts (int): Number of checkpoints to keep; -1 keeps all.
        save_last (bool): Whether to save where the run ends too: at the end of the schedule, or where a hook such as
            MMEngine's ``EarlyStoppingHook`` stops the loop.
        save_best (str | list[str] | None): Scores, such as ``target/mIoU``, whose best weights are kept as well; 'auto'
            is the first that the validation gives.
        rule (str | list[str] | None): 'greater' or 'less' is better, per score; by default told by the scores' names.
        greater_keys (list[str] | None): Parts of names for which greater is better; by default MMEngine's.
        less_keys (list[str] | None): Parts of names for which less is better; by default MMEngine's.
        published_keys (str | list[str] | None): Parts of the last and the best checkpoints, such as 'state_dict', that
            are written once more at the end, with the first digits of a SHA-256 in their names.
        save_begin (int): Iteration from which intervals count.

    Raises:
        ValueError: If an argument has no meaning here.
        TypeError: For an argument that is not taken; lists those that are.
    """

    @lists_arguments
    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = False,
        save_optimizer: bool = True,
        out_dir: str | None = None,
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        save_best: str | list[str] | None = None,
        rule: str | list[str] | None = None,
        greater_keys: list[str] | None = None,
        less_keys: list[str] | None = None,
        published_keys: str | list[str] | None = None,
        save_begin: int = 0,
    ) -> None:
        if by_epoch:
            raise ValueError('AtomicCheckpointHook counts iterations: set by_epoch=False.')
        for name, value in (('interval', interval), ('max_keep_ckpts', max_keep_ckpts)):
            if not isinstance(value, int) or (value != -1 and value < 1):
                raise ValueError(f'AtomicCheckpointHook.{name} must be -1 or a positive integer, got {value!r}.')
        names = [_best_name(key, 0) for key in (save_best if isinstance(save_best, list) else [])]
        if len(set(names)) < len(names):
            raise ValueError(f'AtomicCheckpointHook.save_best: {save_best} would share files ({", ".join(names)}).')
        super().__init__(
            interval=interval,
            by_epoch=False,
            save_optimizer=save_optimizer,
            max_keep_ckpts=max_keep_ckpts,
            save_last=save_last,
            save_best=save_best,
            rule=rule,
            greater_keys=greater_keys,
            less_keys=less_keys,
            published_keys=published_keys,
            save_begin=save_begin,
        )
        self._wanted_folder = out_dir
        self.saved_step: int | None = None
        self._waiting = False
        self._settings: RunSettings | None = None

    def before_run(self, runner: Runner) -> None:
        """Remember the settings of the config; resuming comes later."""
        if isinstance(runner.optim_wrapper, OptimWrapper):
            self._settings = RunSettings(runner)

    def before_train(self, runner: Runner) -> None:
        """Tidy up after a kill, and make up for a validation that one swallowed."""
        self.out_dir = checkpoint_folder(runner.work_dir, self._wanted_folder)
        os.makedirs(self.out_dir, exist_ok=True)
        if spoilt := _spoilt(runner):
            raise NonFiniteStateError(
                f'This run would start from values that are not finite: {spoilt}. They come from '
                f'{runner._load_from or "the initial weights"}: use a sound checkpoint, such as an earlier one. '
                'A constant that is infinite on purpose belongs into a buffer with persistent=False.'
            )
        runner.logger.info(f'Checkpoints will be saved to {self.out_dir}.')
        if not self.save_optimizer:
            runner.logger.warning('Checkpoints hold weights alone (save_optimizer=False): no run can go on from them.')
        if runner._resume and runner.iter > 0:
            self._settings.take_over(runner)
        self._settings.keep(runner)
        found = [checkpoint_names(self.out_dir)]
        # one answer for all processes, whose disks may differ: saving is a common effort
        broadcast_object_list(found)
        present = found[0]
        if self._wanted_folder is not None and present and not points_into(runner.work_dir, self.out_dir):
            raise FileExistsError(
                f'{self.out_dir} holds checkpoints ({", ".join(present)}) that {runner.work_dir} does not know: they '
                "are another run's. Give this run another name (--work-dir) or another out_dir, or remove them."
            )
        if is_main_process():
            for folder in dict.fromkeys((self.out_dir, runner.work_dir)):
                for name in remove_incomplete(folder, endings=('.pth', POINTER)):
                    runner.logger.info(f'Removed {name}, which a killed run had not finished writing.')
        if runner.iter == 0 and present:
            runner.logger.warning(
                f'{self.out_dir} holds checkpoints of an earlier run ({", ".join(present)}); this run may overwrite '
                'some. To go on with that run use --resume auto, or give this one a folder of its own.'
            )
        if (name := CHECKPOINT_NAME.format(runner.iter)) in present:
            self.saved_step, self.last_ckpt = runner.iter, os.path.join(self.out_dir, name)
        if validation_due(runner):
            runner.logger.info(f'The validation at iteration {runner.iter} did not take place before: it does now.')
            runner.val_loop.run()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add to a checkpoint who wrote it."""
        checkpoint['meta']['world_size'] = get_world_size()
        checkpoint['meta']['adaptations'] = adaptation_types(runner.model)
        samples_consumed = runner.message_hub.get_info('samples_consumed')
        if samples_consumed is not None:
            checkpoint['meta']['samples_consumed'] = samples_consumed

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict | None = None
    ) -> None:
        """Save if this iteration, or one since the accumulation cycle began, asks for it."""
        self._waiting |= self.every_n_train_iters(runner, self.interval, self.save_begin)
        self._waiting |= self.save_last and self.is_last_train_iter(runner)
        if self._waiting and at_end_of_accumulation(runner.optim_wrapper):
            self._waiting = False
            runner.logger.info(f'Saving checkpoint at {runner.iter + 1} iterations')
            self.save(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the best weights, and write the validation's outcome into the checkpoint of its iteration."""
        if self.out_dir is None:
            return
        record_validation(runner)
        surpassed = self._save_best(runner, metrics or {})
        if self.saved_step == runner.iter:
            self.save(runner, runner.iter)
        self._remove(runner, surpassed)

    def after_train(self, runner: Runner) -> None:
        """Save a run that a hook has ended before its time, and publish."""
        if self.save_last and self.saved_step != runner.iter:
            self._save_where_it_ends(runner)
        # of mmengine's, with the names that it gives
        if self.published_keys is not None:
            hub = runner.message_hub
            suffixes = [''] if len(self.save_best or []) == 1 else [f'_{key}' for key in self.save_best or []]
            best = [hub.get_info(f'best_ckpt{suffix}') for suffix in suffixes]
            for path in filter(None, [self.last_ckpt if self.save_last else None, *best]):
                self._publish_model(runner, path)

    def _save_where_it_ends(self, runner: Runner) -> None:
        if not at_end_of_accumulation(runner.optim_wrapper):
            runner.logger.warning(
                f'The run ends at iteration {runner.iter}, within a cycle of accumulation: gradients gathered since '
                'the last update are lost.'
            )
        runner.logger.info(f'Saving checkpoint at {runner.iter} iterations, where the run ends')
        self.save(runner, runner.iter)

    def save(self, runner: Runner, step: int, temporary: bool = False) -> None:
        """Save the run as it stands; gradients that are accumulated meanwhile are not kept.

        Called on all processes: the main one writes, the others wait for it.

        Args:
            step (int): Iterations trained.
            temporary (bool): Whether the next checkpoint makes this one superfluous.

        Raises:
            CheckpointWriteError: On all processes, if the main one could not write.
        """
        hub = runner.message_hub
        kept = list(hub.get_info('keep_ckpt_ids', []))
        superseded = list(hub.get_info('superseded_checkpoints', []))
        name = CHECKPOINT_NAME.format(step)
        path = os.path.join(self.out_dir, name)
        if self.max_keep_ckpts > 0:
            # a temporary one that is written again, with its validation, stays so
            if name not in superseded and step not in kept:
                superseded += [name] if temporary else []
                kept += [] if temporary else [step]
            superseded += [CHECKPOINT_NAME.format(old) for old in kept[: -self.max_keep_ckpts]]
            kept = kept[-self.max_keep_ckpts :]
        # a kill between writing and removing leaves files behind: the checkpoint says which, the next one removes them
        hub.update_info('superseded_checkpoints', superseded)
        hub.update_info('keep_ckpt_ids', kept)
        hub.update_info('last_ckpt', path)
        self._write(runner, name, step, weights_only=False)
        self.saved_step = step
        self.last_ckpt = path
        self._remove(runner, [old for old in superseded if old != name])
        hub.update_info('superseded_checkpoints', [name] if name in superseded else [])

    def _save_best(self, runner: Runner, metrics: dict[str, float]) -> list[str]:
        """Keep the weights of the best scores, and return the names of those that they surpass."""
        hub = runner.message_hub
        surpassed = []
        if self.save_best == ['auto'] and metrics:
            self.save_best = [next(iter(metrics))]
            self._init_rule(self.rules, self.save_best)
        for key in self.save_best or []:
            if key not in metrics:
                known = ', '.join(metrics) or 'none'
                raise KeyError(f'AtomicCheckpointHook.save_best asks for {key!r}; the validation gave: {known}.')
            suffix = '' if len(self.save_best) == 1 else f'_{key}'
            best = hub.get_info(f'best_score{suffix}')
            if math.isnan(metrics[key]) or (best is not None and not self.is_better_than[key](metrics[key], best)):
                continue
            name = _best_name(key, runner.iter)
            former = os.path.basename(hub.get_info(f'best_ckpt{suffix}', ''))
            hub.update_info(f'best_score{suffix}', metrics[key])
            hub.update_info(f'best_ckpt{suffix}', os.path.join(self.out_dir, name))
            self._write(runner, name, runner.iter, weights_only=True)
            runner.logger.info(f'The best {key} so far, {metrics[key]:0.4f}, is saved to {name}.')
            surpassed += [former] if former not in ('', name) else []
        return surpassed

    def _write(self, runner: Runner, name: str, step: int, weights_only: bool) -> None:
        """Write one file, on the main process, and let all processes know how it went."""
        path = os.path.join(self.out_dir, name)
        failure: list[str | None] = [None]
        cause = None
        if is_main_process():
            try:
                if spoilt := _spoilt(runner, with_optimizers=not weights_only):
                    raise NonFiniteStateError(f'it would hold values that are not finite: {spoilt}')
                with replaced_when_complete(path) as incomplete:
                    runner.save_checkpoint(
                        self.out_dir,
                        os.path.basename(incomplete),
                        save_optimizer=self.save_optimizer and not weights_only,
                        save_param_scheduler=self.save_optimizer and not weights_only,
                        meta=dict(epoch=runner.epoch, iter=step),
                        by_epoch=False,
                    )
                if not weights_only:
                    for folder in dict.fromkeys((self.out_dir, runner.work_dir)):
                        write_text(os.path.join(folder, POINTER), path)
            except Exception as error:
                # not OSError alone: the other processes wait for word in any case
                failure, cause = [self._explain(path, error)], error
        broadcast_object_list(failure)
        if failure[0] is not None:
            raise CheckpointWriteError(failure[0]) from cause

    def _explain(self, path: str, error: Exception) -> str:
        """Say what became of the checkpoints when one could not be written."""
        advice = 'Remove the cause'
        if isinstance(error, NonFiniteStateError):
            advice = (
                'Lower the learning rate, clip gradients (optim_wrapper.<player>.clip_grad) or bound the loss (clamp)'
            )
        if isinstance(error, OSError):
            advice = {
                errno.ENOSPC: 'Make room on the disk',
                errno.EDQUOT: 'Make room in your quota',
                errno.EFBIG: 'Raise the limit on file sizes (ulimit -f)',
                errno.EACCES: 'Make the folder writable',
                errno.EROFS: 'Make the folder writable',
            }.get(error.errno, advice)
        intact = 'There is no earlier checkpoint'
        if self.last_ckpt is not None and os.path.exists(self.last_ckpt):
            intact = f'Earlier checkpoints are intact, the newest is {self.last_ckpt}'
        # torch raises it wherever the main process happens to be
        if isinstance(error, RuntimeError) and str(error).startswith('DataLoader worker'):
            return (
                f'A data loader worker died ({str(error).strip()}) while {path} was being written, which is left out. '
                f'{intact}. Workers are mostly killed for want of memory: take fewer (num_workers), then go on with '
                '--resume auto.'
            )
        return f'Cannot write checkpoint {path} ({error}). {intact}. {advice}, then go on with --resume auto.'

    def _remove(self, runner: Runner, names: list[str]) -> None:
        """Remove checkpoints that newer ones replace; of the names, which may come from a file, only our own."""
        if not is_main_process():
            return
        for name in names:
            path = os.path.join(self.out_dir, os.path.basename(name))
            if _OWN_FILE.fullmatch(os.path.basename(name)) and os.path.isfile(path):
                try:
                    os.remove(path)
                except OSError as error:
                    runner.logger.warning(f'Cannot remove the superseded checkpoint {path} ({error}).')


def _spoilt(runner: Runner, with_optimizers: bool = True) -> str:
    """Name what is not finite in the run's weights and optimizers, where they lie."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return describe_non_finite(model.state_dict(), runner.optim_wrapper.state_dict() if with_optimizers else {})


def _best_name(score: str, step: int) -> str:
    """Name the file of a score's best weights."""
    return f'best_{score}_{CHECKPOINT_NAME.format(step)}'.replace('/', '_')
