"""Project how long a training run takes from a few of its iterations."""

import copy
import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from cda_mmseg.visualization.run_log import read_run_log

PROBE_ITERATIONS = 12
PROBE_IMAGES = 4


@dataclass(frozen=True)
class Speed:
    """What one kind of run takes on this machine, in seconds.

    Attributes:
        start (float): From the command to the first regular iteration.
        iteration (float): One training iteration.
        image (float): One validation image.
    """

    start: float
    iteration: float
    image: float

    def run_seconds(self, config: Config, validation_images: int) -> float:
        """Project a whole run.

        Returns:
            float: Seconds.
        """
        schedule = config.train_cfg
        validations = math.ceil(schedule.max_iters / schedule.val_interval)
        return self.start + schedule.max_iters * self.iteration + validations * validation_images * self.image


def count_validation_images(config: Config) -> int:
    """Count the images of one validation.

    Args:
        config (Config): A config of this project.

    Returns:
        int: Their number, both domains together.
    """
    init_default_scope(config.get('default_scope', 'mmseg'))
    return len(DATASETS.build(config.val_dataloader.dataset))


def measure_speed(config: Config, train_tool: Path, folder: Path) -> Speed:
    """Train a few iterations and validate a few images, or read what that took before.

    Args:
        config (Config): Config of the run; it is not changed.
        train_tool (Path): ``tools/train.py``.
        folder (Path): Folder for the probe; its ``speed.json`` is read if it is there.

    Returns:
        Speed: The speed.

    Raises:
        RuntimeError: If the probe fails.
    """
    result = folder / 'speed.json'
    if result.is_file():
        return Speed(**json.loads(result.read_text(encoding='utf-8')))
    # Config.copy shares what is inside.
    config = copy.deepcopy(config)
    config.train_cfg.update(max_iters=PROBE_ITERATIONS, val_interval=PROBE_ITERATIONS)
    config.default_hooks.logger.interval = PROBE_ITERATIONS
    config.default_hooks.checkpoint.interval = PROBE_ITERATIONS
    for part in config.val_dataloader.dataset.datasets:
        part.indices = PROBE_IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    config.dump(folder / 'probe.py')
    begin = time.monotonic()
    command = [sys.executable, str(train_tool), str(folder / 'probe.py'), '--work-dir', str(folder / 'run')]
    with open(folder / 'output.txt', 'w', encoding='utf-8') as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if code != 0:
        raise RuntimeError(f'A few iterations of {folder.name} failed with exit code {code}: see {output.name}.')
    wall = time.monotonic() - begin
    log = read_run_log(folder / 'run')
    # mmengine averages over the last iterations, so the first, slower ones count towards the start.
    iteration, image = log.training['time'].values[-1], log.validation['time'].values[-1]
    images = PROBE_IMAGES * len(config.val_dataloader.dataset.datasets)
    speed = Speed(max(0.0, wall - PROBE_ITERATIONS * iteration - images * image), float(iteration), float(image))
    result.write_text(json.dumps(asdict(speed), indent=2) + '\n', encoding='utf-8')
    return speed


def format_duration(seconds: float) -> str:
    """Write a duration for people.

    Returns:
        str: Such as '2 h 05 min', '7 min' or '40 s'.
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02d} min'
