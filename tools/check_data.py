"""Read every file of all data sets of a config, and say what is wrong: ``python tools/check_data.py CONFIG``.

Labels of the target's training images are never opened. Exit code 0: nothing is wrong; 1: something is.
"""

import argparse
import os
from os.path import expanduser

MAX_LISTED = 20


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Read every file of all data sets of a config, and say what is wrong.')
    parser.add_argument('config', type=expanduser, help='config file')
    parser.add_argument('--out', type=expanduser, metavar='FILE', help='write all that was found as an HTML page')
    parser.add_argument(
        '--list-good', type=expanduser, metavar='DIR', help='write lists of the images that are in order, to train on'
    )
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count() or 1, help='number of processes (default: one per CPU core)'
    )
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes of config keys')
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error('--workers must be at least 1')
    return arguments


def main() -> None:
    """Check the data; exit with 1 if something is wrong."""
    arguments = parse_arguments()
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'ERROR')  # what it warns of is a finding
    from cda_mmseg.explained_errors import explained_errors

    with explained_errors():
        found = check(arguments)
    raise SystemExit(1 if found else 0)


def check(arguments: argparse.Namespace) -> int:
    """Check the data, with errors as they are raised.

    Returns:
        int: Number of findings.
    """
    import shlex
    from pathlib import Path

    from cda_mmseg import launch
    from cda_mmseg.inspection import survey, write_good_lists
    from cda_mmseg.inspection.page import verdict, write_page

    config = launch.load_config(arguments.config, launch.read_options(arguments.cfg_options), None, 'none')
    found = survey(config, arguments.workers)
    for data in found.data_sets:
        sizes = ', '.join(f'{width}×{height}' for (width, height), _ in data.sizes.most_common(3))
        more = ', …' if len(data.sizes) > 3 else ''
        speed = data.sizes.total() / data.seconds if data.seconds else 0
        print(f'{data.place} ({data.role}): {data.images} images, {sizes}{more}; {speed:.0f} images/s')
    for title, lines in (('Worth knowing', found.remarks), ('Findings', [one.message for one in found.findings])):
        if lines:
            print(f'{title}:')
        for line in lines[:MAX_LISTED]:
            print(f'  {line}')
        if len(lines) > MAX_LISTED:
            print(f'  … and {len(lines) - MAX_LISTED} more' + ('' if arguments.out else '; --out FILE lists all'))
    if arguments.out:
        page = Path(arguments.out)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(write_page(found, arguments.config, config.model.get('data_preprocessor') or {}), 'utf-8')
        print(f'Page: {page}')
    if arguments.list_good and (options := write_good_lists(found, Path(arguments.list_good))):
        print('Train on what is in order:\n  --cfg-options ' + shlex.join(options))
    print(verdict(found))
    return len(found.findings)


if __name__ == '__main__':
    main()
