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


def verdict(names: list[str], work_dirs: list[Path]) -> str:
    """Say in a sentence what adaptation did, on the last snapshots."""
    from cda_mmseg.visualization.run_log import read_run_log

    runs = zip(work_dirs, names, strict=True)
    baseline, *adapted = (read_run_log(folder, name).last('target/mIoU').value for folder, name in runs)
    changes = ', '.join(
        f'{name} {score:.2f} ({score - baseline:+.2f})' for name, score in zip(names[1:], adapted, strict=True)
    )
    return (
        f'Target mIoU on this seed, last snapshots: source-only {baseline:.2f}, {changes}. One seed of a toy problem '
        'proves nothing.'
    )


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
    """Write the world, train the models side by side, compare them."""
    from cda_mmseg.datasets.worlds import write_world
    from cda_mmseg.experiments import SweepProgress, read_sweep, run_sweep
    from cda_mmseg.utils.loading import install_safe_loader
    from cda_mmseg.visualization.report import write_report

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
    print('\n3/3  Curves, table and pictures', flush=True)
    work_dirs = {NAMES[arm.name]: out / arm.name / f'seed{arguments.seed}' for arm in sweep.arms}
    report = write_report(work_dirs, out / 'report', notes=[verdict(list(work_dirs), list(work_dirs.values()))])

    print(f'\n{report["table"].read_text()}')
    for name, work_dir in work_dirs.items():
        print(f'Checkpoint, {name}: {(work_dir / "last_checkpoint").read_text().strip()}')
    print(f'Score table:     {report["table"]}')
    print(f'Curves:          {report["curves"]} (both domains), {report["training"]} (losses)')
    print(f'Picture panel:   {report["panel"]}')
    print(f'Time:            {time.monotonic() - start:.0f} s')


if __name__ == '__main__':
    main()
