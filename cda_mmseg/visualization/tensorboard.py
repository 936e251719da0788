"""TensorBoard over all starts of a run."""

from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.visualization import TensorboardVisBackend
from mmseg.registry import VISBACKENDS


@VISBACKENDS.register_module()
class RunTensorboardBackend(TensorboardVisBackend):
    """MMEngine's backend, but with one curve for a run, however often it was resumed.

    All starts write to ``<work_dir>/tensorboard``. What earlier ones logged from a start's first step on is declared
    void, so that no step is there twice, and what is logged is on the disk before training goes on, so that a kill
    loses nothing.

    Args:
        save_dir (str): ``<work_dir>/<timestamp>/vis_data``, as the visualizer gives it.

    Raises:
        ImportError: If TensorBoard is not installed.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(str(Path(save_dir).parents[1] / 'tensorboard'))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoard is an extra: pip install 'cda_mmseg[tensorboard]'") from error
        self._writer = SummaryWriter
        self._first_step: int | None = None

    def _init_env(self) -> None:
        # only now is it known where the run goes on
        self._tensorboard = self._writer(self._save_dir, purge_step=self._first_step)

    def add_config(self, config: Config) -> None:
        """Leave the config to the ``work_dir``."""

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: object) -> None:
        """Record an image, RGB (H, W, 3)."""
        self._first_step = step if self._first_step is None else self._first_step
        super().add_image(name, image, step, **kwargs)
        self._tensorboard.flush()

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: object) -> None:
        """Record scalars."""
        self._first_step = step if self._first_step is None else self._first_step
        super().add_scalars(scalar_dict, step, file_path, **kwargs)
        self._tensorboard.flush()
