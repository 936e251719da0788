"""Keep the logging history short."""

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class BoundedHistoryHook(Hook):
    """Give every logged scalar a history as long as the log's averages look back, and no longer.

    MMEngine keeps up to a million values per scalar, copies them all at every iteration and writes them into every
    checkpoint. The values it logs average the last ``log_processor.window_size`` (10) of them. This hook changes no
    logged value: where the log processor is told to look back further (``custom_cfg``), the history is that long, and
    where it looks back to the beginning (``window_size='global'``, or a statistic without a window), unlimited.

    Args:
        min_length (int): Values to keep at least, for readers other than the log processor.

    Raises:
        ValueError: If ``min_length`` is not positive.
    """

    # after the hooks that log values and those that read them, before checkpoints are written
    priority = 'LOW'

    def __init__(self, min_length: int = 10) -> None:
        if min_length < 1:
            raise ValueError(f'BoundedHistoryHook.min_length must be at least 1, got {min_length}.')
        self.min_length = min_length
        self._lengths: dict[str, int | None] = {}

    def before_train(self, runner: Runner) -> None:
        """Shorten what a checkpoint brought along."""
        self._shorten(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict | None = None
    ) -> None:
        """Shorten the histories."""
        self._shorten(runner)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: list | None = None
    ) -> None:
        """Shorten the histories."""
        self._shorten(runner)

    def _shorten(self, runner: Runner) -> None:
        """Limit all histories; each cuts itself at its next update."""
        for key, history in runner.message_hub.log_scalars.items():
            if key not in self._lengths:
                self._lengths[key] = self._needed_length(runner, key)
            length = self._lengths[key]
            if length is not None:
                history.max_length = length

    def _needed_length(self, runner: Runner, key: str) -> int | None:
        """Work out how far back the log looks."""
        processor = runner.log_processor
        mode, _, name = key.partition('/')
        if mode == 'val' and runner.val_loop is not None:
            # after a validation, times are averaged over its batches; mmengine's window is one longer than that
            epoch = len(runner.val_dataloader) + 1
            needed = max(self.min_length, processor.window_size, epoch)
        else:
            epoch = len(runner.train_dataloader) if processor.by_epoch else 1
            needed = max(self.min_length, processor.window_size)
        for config in processor.custom_cfg:
            if config['data_src'] != name or config['method_name'] == 'current':
                continue
            window = config.get('window_size', 'global')
            if window in ('global', None):
                runner.logger.warning(
                    f'log_processor.custom_cfg looks back to the beginning for {name!r}: its history grows without '
                    'limit, which slows iterations down and makes checkpoints larger. Give it a window_size.'
                )
                return None
            needed = max(needed, epoch if window == 'epoch' else window)
        return needed
