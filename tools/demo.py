"""Adapt a small network on built-in streets and show what it did: ``make demo``."""

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

SWEEP = Path(__file__).resolve().parent.parent / 'configs' / 'tour' / 'sweep.py'
WORLD = Path('data/worlds/gta2city')  # where the configs look for it, below the current folder
NAMES = {
    'source_only': 'source-only',
    'self_training': 'self-training',
    'cl': 'GAN + Conservative Loss',
}


def main() -> None:
    """Read the command line, then show what adaptation does."""
    parser = argparse.ArgumentParser(description='Adapt a small network on built-in streets.')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'), help='folder of runs and report')
    parser.add_argument('--seed', type=int, default=0, help='seed of all runs')
    arguments = parser.parse_args()
    from cda_mmseg.explained_errors import explained_errors

    try:
        with explained_errors():
            show(arguments)
    except KeyboardInterrupt:
        print('Stopped; the next demo begins anew.', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def show(arguments: argparse.Namespace) -> None:
    """Write the world, train the models side by side, report on them."""
    from cda_mmseg.datasets.worlds import write_world
    from cda_mmseg.experiments import SweepProgress, read_sweep, run_sweep
    from cda_mmseg.report import write_report
    from cda_mmseg.report.arms import verdict
    from cda_mmseg.utils.loading import install_safe_loader

    start = time.monotonic()
    install_safe_loader()

    print(f'1/3  Built-in streets in {WORLD}')
    write_world(WORLD, pair='gta2city', workers=os.cpu_count() or 1)
    # Every demo is a run of its own: an old one is kept under the time it was made.
    out = arguments.out / time.strftime('%Y%m%d-%H%M%S')
    sweep = replace(read_sweep(SWEEP), seeds=(arguments.seed,))
    print(f"\n2/3  Training three networks in {out}; two go on from the first one's warm start", flush=True)
    with SweepProgress(sweep, out) as progress:
        run_sweep(sweep, out, jobs=len(sweep.arms), keep_weights=True, report=progress.print)
    print('\n3/3  The report', flush=True)
    work_dirs = {NAMES[arm.name]: out / arm.name / f'seed{arguments.seed}' for arm in sweep.arms}
    arms = write_report(list(work_dirs.items()), out / 'report.html')

    print(f'\n{verdict(arms)} This is a toy problem.')
    for name, work_dir in work_dirs.items():
        print(f'Checkpoint, {name}: {(work_dir / "last_checkpoint").read_text().strip()}')
    print(f'Report:          {out / "report.html"} (open it in a browser)')
    print(f'Time:            {time.monotonic() - start:.0f} s')


if __name__ == '__main__':
    main()
