"""End a run that is asked to, so that it can go on later."""

import os
import signal
import threading

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from cda_mmseg.engine.checkpointing.accumulation import at_end_of_accumulation
from cda_mmseg.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from cda_mmseg.engine.hooks.signal_watcher import SignalWatcher
from cda_mmseg.engine.hooks.stop_agreement import StopAgreement


@HOOKS.register_module()
class StopHook(Hook):
    """Save and exit on SIGTERM or SIGINT: pre-emption, a job's time limit, Ctrl-C.

    All processes finish the same iteration (the end of the accumulation cycle after the one in which the first of them
    was signalled), save, and exit with code 75 (``EX_TEMPFAIL``: try again later), which says that ``--resume auto``
    goes on exactly here. During a validation whose checkpoint is written they exit between two of its batches;
    resuming repeats it.

    A second signal, two seconds or more after the first, exits at once without saving. So does the time limit: torchrun
    also signals the survivors of a crash, and those would wait for the dead for ever. The code is then 128 + the
    signal's number (143, 130), and the last checkpoint stands.

    Args:
        signals (tuple[str, ...]): Names of the signals that end the run.
        time_limit (float): Seconds within which the processes must agree on their last iteration: at least two
            iterations' time. torchrun and most schedulers kill 30 s after their signal. One process alone has no limit.

    Raises:
        ValueError: If a signal has no such name or the limit is not positive.
    """

    # a checkpoint of the same iteration has then been written
    priority = 'LOWEST'

    SAVED = os.EX_TEMPFAIL

    def __init__(self, signals: tuple[str, ...] = ('SIGTERM', 'SIGINT'), time_limit: float = 20.0) -> None:
        unknown = [name for name in signals if name not in signal.Signals.__members__]
        if unknown:
            raise ValueError(f'StopHook.signals: {unknown} are not names of signals, such as SIGTERM.')
        if not time_limit > 0:
            raise ValueError(f'StopHook.time_limit must be positive, got {time_limit}.')
        self.signals = tuple(signal.Signals[name] for name in signals)
        self.time_limit = time_limit
        self._watcher: SignalWatcher | None = None
        self._agreement: StopAgreement | None = None
        self._checkpoint_hook: AtomicCheckpointHook | None = None

    def before_train(self, runner: Runner) -> None:
        """Begin to listen."""
        savers = [hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook)]
        if not savers:
            raise ValueError("StopHook saves through default_hooks.checkpoint: set its type to 'AtomicCheckpointHook'.")
        self._checkpoint_hook = savers[0]
        self._agreement = StopAgreement()
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning('StopHook is off: only the main thread of a process can listen to signals.')
            return
        self._watcher = SignalWatcher(self.signals, self.time_limit if get_world_size() > 1 else None)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict | None = None
    ) -> None:
        """Stop if the processes have agreed to."""
        if at_end_of_accumulation(runner.optim_wrapper) and self._agreement.ask(self._signalled):
            self._stop(runner, runner.iter + 1)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: list | None = None
    ) -> None:
        """Stop if the processes have agreed to and nothing would be lost.

        Saving here is no option: hooks may have put other weights into the model for the validation.
        """
        # a resumed run repeats its validation before anybody listens
        if self._agreement is None or self._checkpoint_hook.saved_step != runner.iter:
            return
        if not self._all_score(runner, batch_idx):
            return
        # signals reach the processes one by one: one that left alone would break the others' next exchange
        if self._agreement.ask(self._signalled):
            self._stop(runner, runner.iter)

    @staticmethod
    def _all_score(runner: Runner, batch_idx: int) -> bool:
        """Tell whether every process has this batch; they ask equally often, and some may have one more."""
        loader = runner.val_loop.dataloader
        if get_world_size() == 1:
            return True
        return batch_idx < len(loader.dataset) // get_world_size() // (loader.batch_size or len(loader.dataset))

    def after_train(self, runner: Runner) -> None:
        """Stop listening: the run is over."""
        self._agreement.close()
        if self._watcher is not None:
            self._watcher.close()

    @property
    def _signalled(self) -> bool:
        """bool: Whether this process was asked to stop."""
        return self._watcher is not None and self._watcher.received is not None

    def _stop(self, runner: Runner, step: int) -> None:
        """Save and exit; hooks that conclude a finished run are not called."""
        if self._watcher is not None:
            self._watcher.disarm()
        if self._checkpoint_hook.saved_step != step:
            self._checkpoint_hook.save(runner, step, temporary=True)
        runner.logger.warning(
            f'Stopped by a signal after {step} iterations, which are saved in {self._checkpoint_hook.last_ckpt}. '
            f'Go on with --resume auto. Exit code {self.SAVED}.'
        )
        runner.visualizer.close()
        raise SystemExit(self.SAVED)
