"""Compare finished runs: ``python tools/compare_runs.py --out DIR source-only=WORK_DIR adapted=WORK_DIR``."""

import argparse
from os.path import expanduser


def main() -> None:
    """Write curves, score table and picture panel."""
    parser = argparse.ArgumentParser(description='Compare finished runs on the same data.')
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='NAME=WORK_DIR',
        help='runs of your own, whose configs are started; the last one shows its reconstructions',
    )
    parser.add_argument(
        '--out', type=expanduser, required=True, help='folder for scores.md, curves, training curves and panel'
    )
    parser.add_argument('--note', action='append', default=[], help='sentence printed below the table')
    arguments = parser.parse_args()
    bad = [run for run in arguments.runs if '=' not in run]
    if bad:
        parser.error(f'{bad[0]!r} is not NAME=WORK_DIR')
    runs = [run.split('=', 1) for run in arguments.runs]
    names = [name for name, _ in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        parser.error(f'two runs are called {twice[0]!r}: give each a name of its own')
    from cda_mmseg.explained_errors import explained_errors
    from cda_mmseg.utils.loading import install_safe_loader
    from cda_mmseg.visualization.report import write_report

    install_safe_loader()
    with explained_errors():
        for kind, path in write_report(
            {name: expanduser(folder) for name, folder in runs}, arguments.out, None, arguments.note
        ).items():
            print(f'{kind}: {path}')


if __name__ == '__main__':
    main()
