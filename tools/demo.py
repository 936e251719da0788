"""Adapt a small network on built-in streets and show what it did: ``make demo``."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from cda_mmseg.datasets.worlds import write_world
from cda_mmseg.engine.checkpointing import install_safe_loader
from cda_mmseg.visualization.report import write_report
from cda_mmseg.visualization.run_log import read_run_log

ROOT = Path(__file__).resolve().parent.parent
WORLD = Path('data/worlds/gta2city')  # where the configs look for it, below the current folder
RUNS = {
    'source-only': 'source_only_gta2city',
    'GAN + Conservative Loss': 'cl_gta2city',
}


def train(config: str, work_dir: Path, seed: int) -> None:
    """Train one config in a process of its own, its progress on the screen."""
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(ROOT / 'configs' / 'demo' / f'{config}.py')]
    command += ['--work-dir', str(work_dir), '--seed', str(seed)]
    subprocess.run(command, check=True)


def verdict(names: list[str], work_dirs: list[Path]) -> str:
    """Say in a sentence whether adaptation won, on the last snapshots."""
    runs = zip(work_dirs, names, strict=True)
    baseline, adapted = (read_run_log(folder, name).last('target/mIoU').value for folder, name in runs)
    outcome = 'won' if adapted > baseline else 'lost'
    return (
        f'On this seed adaptation {outcome}: target mIoU {adapted:.2f} against {baseline:.2f} of source-only, '
        f'{adapted - baseline:+.2f} points on the last snapshot. One seed of a toy problem proves nothing.'
    )


def main() -> None:
    """Write the world, train both models, compare them."""
    parser = argparse.ArgumentParser(description='Adapt a small network on built-in streets.')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'), help='folder of runs and report')
    parser.add_argument('--seed', type=int, default=0, help='seed of both runs')
    arguments = parser.parse_args()
    start = time.monotonic()
    install_safe_loader()

    print(f'1/4  Built-in streets in {WORLD}')
    write_world(WORLD, pair='gta2city', workers=os.cpu_count() or 1)
    # Every demo is a run of its own: an old one is kept under the time it was made.
    out = arguments.out / time.strftime('%Y%m%d-%H%M%S')
    work_dirs = []
    for number, (name, config) in enumerate(RUNS.items(), start=2):
        print(f'\n{number}/4  Training: {name}', flush=True)
        work_dirs.append(out / config)
        train(config, work_dirs[-1], arguments.seed)
    print('\n4/4  Curves, table and pictures', flush=True)
    report = write_report(
        dict(zip(RUNS, work_dirs, strict=True)), out / 'report', notes=[verdict(list(RUNS), work_dirs)]
    )

    print(f'\n{report["table"].read_text()}')
    for name, work_dir in zip(RUNS, work_dirs, strict=True):
        print(f'Checkpoint, {name}: {(work_dir / "last_checkpoint").read_text().strip()}')
    print(f'Score table:     {report["table"]}')
    print(f'Curves:          {report["curves"]} (both domains), {report["training"]} (losses)')
    print(f'Picture panel:   {report["panel"]}')
    print(f'Time:            {time.monotonic() - start:.0f} s')


if __name__ == '__main__':
    main()
