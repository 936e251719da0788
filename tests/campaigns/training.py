"""Train configs in processes of their own, as a user does."""

import os
import subprocess
import sys
from pathlib import Path

from cda_mmseg.visualization.run_log import RunLog, read_run_log

ROOT = Path(__file__).resolve().parents[2]


def train(config: str, work_dir: Path, folder: Path, *arguments: str, environment: dict | None = None) -> RunLog:
    """Run tools/train.py in a folder that holds the data, and read its log."""
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(ROOT / 'configs' / f'{config}.py')]
    command += ['--work-dir', str(work_dir), *arguments]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), **(environment or {})}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return read_run_log(work_dir)
