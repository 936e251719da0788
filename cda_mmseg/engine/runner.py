"""A runner that reads our configs."""

from __future__ import annotations

import copy
import inspect
import json
import os
import tempfile
import warnings

from mmengine.config import Config, ConfigDict
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmseg.registry import RUNNERS

from cda_mmseg.datasets.listing import check_listing
from cda_mmseg.engine.branching import branch
from cda_mmseg.engine.composition import compose
from cda_mmseg.engine.data_checks import check_metrics, check_scored_data
from cda_mmseg.engine.hooks.fitting_hook import check_what_is_loaded
from cda_mmseg.engine.launch_record import RECORD, describe_launch
from cda_mmseg.engine.terminal import shorten_terminal
from cda_mmseg.engine.unread_keys import warn_of_unread_keys
from cda_mmseg.utils.atomic_file import write_text

# of 107 bytes that the name of a Unix socket may have, see _check_loaders
LONGEST_TMPDIR = 107 - len('/pymp-XXXXXXXX/listener-XXXXXXXX')


@RUNNERS.register_module()
class UDARunner(Runner):
    """mmengine's ``Runner`` for configs whose method stands beside the network, see :func:`compose`.

    ``runner_type='mmseg.UDARunner'`` in a config lets mmseg's own tools take it. Of the config it also reads
    ``branch_from``, a checkpoint of another run to start from, see :func:`branch`; resuming comes before it.
    """

    @classmethod
    def from_cfg(cls, cfg: Config | ConfigDict | dict) -> UDARunner:
        """Compose the config, build the runner and name the keys that nobody reads; ``cfg`` stays as it is."""
        config = copy.deepcopy(cfg) if isinstance(cfg, Config) else Config(copy.deepcopy(dict(cfg)))
        compose(config)
        _check_randomness(config)
        _check_loaders(config)
        runner = super().from_cfg(config)
        warn_of_unread_keys(runner)
        return runner

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: object) -> MMLogger:
        """Build the logger; its file keeps what would bury the rest on the terminal."""
        # Loggers, message hubs and visualizers of one name are one, and the name ends in the second: another run of
        # this process in the same second would write into the first one's.
        name, number = self._experiment_name, 1
        while MMLogger.check_instance_created(self._experiment_name):
            number += 1
            self._experiment_name = f'{name}_{number}'
        logger = super().build_logger(log_level, log_file, **kwargs)
        shorten_terminal(logger)
        logger.info(f'Versions, the whole config and the hooks of this run stand in {logger.log_file}.')
        return logger

    @master_only
    def dump_config(self) -> None:
        """Write down the config and, beside the log, how the run was started."""
        super().dump_config()
        write_text(os.path.join(self.log_dir, RECORD), json.dumps(describe_launch(self), indent=1) + '\n')

    def test(self) -> dict[str, float]:
        """Check the data, then score it."""
        check_listing((self.cfg.get('test_dataloader') or {}).get('dataset'), 'test_dataloader.dataset')
        check_scored_data(self.test_loop.dataloader.dataset, self.model, 'test_dataloader.dataset')
        check_metrics(self.test_loop.evaluator.metrics, self.test_loop.dataloader.dataset, 'test_evaluator')
        return super().test()

    def register_hooks(
        self, default_hooks: dict[str, Hook | dict] | None = None, custom_hooks: list[Hook | dict] | None = None
    ) -> None:
        """Register the hooks of the config, and one that looks at checkpoints if none of them does."""
        with warnings.catch_warnings():
            # mmseg warns of its default, that nothing is drawn
            warnings.filterwarnings('ignore', message='The draw is False')
            super().register_hooks(default_hooks, custom_hooks)
        check_what_is_loaded(self)

    def load_or_resume(self) -> None:
        """Load, resume or branch off a checkpoint."""
        path = self.cfg.get('branch_from')
        is_training = self._train_loop is not None and not isinstance(self._train_loop, dict)
        if path and is_training and not self._resume and not self._has_loaded:
            branch(self, path)
        super().load_or_resume()


def _check_randomness(config: Config) -> None:
    """Refuse what NumPy and mmengine's runner refuse, by the key's name."""
    randomness = config.get('randomness') or {}
    known = list(inspect.signature(Runner.set_randomness).parameters)[1:]
    if unknown := [key for key in randomness if key not in known]:
        raise TypeError(f'randomness does not take {", ".join(unknown)}. It takes {", ".join(known)}.')
    seed = randomness.get('seed')
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**32):
        raise ValueError(f'randomness.seed must be an integer from 0 to 2**32 - 1, got {seed!r}.')


def _check_loaders(config: Config) -> None:
    """Refuse what torch refuses, by the loader's name."""
    for key in ('train_dataloader', 'target_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(key)
        batch_size = loader.get('batch_size', 1) if isinstance(loader, dict) else 1
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f'{key}.batch_size must be an integer of at least 1, got {batch_size!r}.')
        if isinstance(loader, dict) and not loader.get('num_workers') and loader.get('persistent_workers'):
            raise ValueError(
                f'{key}: num_workers=0 has no workers that persistent_workers=True could keep. Set '
                f'{key}.persistent_workers=False.'
            )
        # torch sends tensors through sockets in TMPDIR/pymp-XXXXXXXX/listener-XXXXXXXX; a worker that cannot hangs
        temporary = tempfile.gettempdir()
        if isinstance(loader, dict) and loader.get('num_workers') and len(os.fsencode(temporary)) > LONGEST_TMPDIR:
            raise ValueError(
                f'{key}: workers cannot hand over pictures, because sockets in the temporary folder {temporary} would '
                f'have too long names. Set the environment variable TMPDIR to a folder whose path has at most '
                f'{LONGEST_TMPDIR} bytes, or {key}.num_workers=0.'
            )
