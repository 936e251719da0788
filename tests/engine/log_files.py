"""Read what a run has logged."""

import re
from pathlib import Path


def log_of(work_dir: Path) -> str:
    return max(work_dir.glob('*/*.log'), key=str).read_text()


def block_of(work_dir: Path) -> list[str]:
    """The lines of the block, without their indent."""
    return re.search(r'In force:\n((?:  .*\n)+)', log_of(work_dir))[1].replace('\n  ', '\n').strip().splitlines()
