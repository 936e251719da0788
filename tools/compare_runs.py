"""Compare finished runs: ``python tools/compare_runs.py --out DIR source-only=WORK_DIR adapted=WORK_DIR``."""

import argparse

from cda_mmseg.engine.checkpointing import install_safe_loader
from cda_mmseg.visualization.report import write_report


def main() -> None:
    """Write curves, score table and picture panel."""
    parser = argparse.ArgumentParser(description='Compare finished runs on the same data.')
    parser.add_argument('runs', nargs='+', metavar='NAME=WORK_DIR', help='runs; the last one shows its reconstructions')
    parser.add_argument('--out', required=True, help='folder for scores.md, curves, training curves and panel')
    parser.add_argument('--note', action='append', default=[], help='sentence printed below the table')
    arguments = parser.parse_args()
    bad = [run for run in arguments.runs if '=' not in run]
    if bad:
        parser.error(f'{bad[0]!r} is not NAME=WORK_DIR')
    install_safe_loader()
    for kind, path in write_report(
        dict(run.split('=', 1) for run in arguments.runs), arguments.out, None, arguments.note
    ).items():
        print(f'{kind}: {path}')


if __name__ == '__main__':
    main()
