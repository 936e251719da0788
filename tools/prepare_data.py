"""Write a copy of a training data set that is resized to the training size, and faster to read.

``python tools/prepare_data.py configs/cl_gta2city.py --domain source --out data/gtav_1024`` prepares the source of a
config; the end of its output says with which option to train from the copy. An interrupted run goes on when the same
command is given again. ``python tools/prepare_data.py --verify data/gtav_1024`` checks a finished copy.
"""

import argparse
import os
import shlex
import sys
from os.path import expanduser

LOADERS = {'source': 'train_dataloader', 'target': 'target_dataloader'}
FORMATS = ('png', 'jpg')
MAX_LISTED_PROBLEMS = 20


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Write a resized copy of a training data set, or check one.')
    parser.add_argument('config', nargs='?', type=expanduser, help='config file that trains on the data set')
    parser.add_argument('--domain', choices=LOADERS, help="which of the config's data sets; no labels of the target")
    parser.add_argument('--out', type=expanduser, help='folder of the copy; nothing is written elsewhere')
    parser.add_argument(
        '--verify', type=expanduser, metavar='FOLDER', help='check every file of a finished copy instead'
    )
    parser.add_argument('--format', choices=FORMATS, default='png', help='png is lossless (default), jpg is not')
    parser.add_argument('--quality', type=int, default=95, help='quality of jpg, 1 to 100 (default: 95)')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count() or 1, help='number of processes (default: one per CPU core)'
    )
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes of config keys')
    arguments = parser.parse_args()
    if not arguments.verify and not (arguments.config and arguments.domain and arguments.out):
        parser.error('give a config, --domain and --out; or --verify FOLDER')
    return arguments


def print_problems(problems: list[str]) -> None:
    """List what is wrong, one a line."""
    for problem in problems[:MAX_LISTED_PROBLEMS]:
        print(f'  {problem}')
    if len(problems) > MAX_LISTED_PROBLEMS:
        print(f'  … and {len(problems) - MAX_LISTED_PROBLEMS} more')


def check(folder: str, workers: int) -> None:
    """Verify a copy; exit with 1 if something is wrong.

    Args:
        folder (str): The copy.
        workers (int): Number of files read at a time.
    """
    from cda_mmseg.datasets.preparation import verify

    problems = verify(folder, workers)
    if problems:
        print(f'{folder}: {len(problems)} files are not as they were written:')
        print_problems(problems)
        raise SystemExit('Delete these files and give the command that prepared the copy again: it writes them anew.')
    print(f'{folder}: every file is as it was written.')


def write(arguments: argparse.Namespace) -> None:
    """Write a copy; exit with 1 if images are missing in it."""
    from cda_mmseg import launch
    from cda_mmseg.datasets.preparation import prepare

    config = launch.load_config(arguments.config, launch.read_options(arguments.cfg_options), None, 'none')
    key = LOADERS[arguments.domain]
    outcome = prepare(
        config[key].dataset,
        arguments.out,
        labels=arguments.domain == 'source',
        image_format=arguments.format,
        quality=arguments.quality,
        workers=arguments.workers,
    )
    if outcome.problems:
        print(f'{len(outcome.problems)} of {outcome.pairs} pairs could not be read; the others are in {arguments.out}:')
        print_problems(outcome.problems)
        raise SystemExit('Repair these files and give the same command again: it writes what is missing.')
    sizes = ', '.join(f'{number} of {size}' for size, number in sorted(outcome.sizes.items()))
    print(
        f'{arguments.out}: {outcome.pairs} pairs ({sizes}), {outcome.bytes / 1e9:.3g} GB; '
        f'{outcome.written} written now.'
    )
    if arguments.format == 'jpg':
        print('JPEG changes the images: results may differ from those on the original files.')
    options = {**outcome.options, 'data_root': arguments.out}
    changes = shlex.join(f'{key}.dataset.{name}={options[name]}' for name in options)
    print(f'Train from it:\n  --cfg-options {changes}')


def main() -> None:
    """Write or check a copy."""
    arguments = parse_arguments()
    from cda_mmseg.explained_errors import explained_errors

    try:
        with explained_errors():
            if arguments.verify:
                check(arguments.verify, arguments.workers)
            else:
                write(arguments)
    except KeyboardInterrupt:
        print('\nInterrupted. Give the same command again: it goes on.', file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)


if __name__ == '__main__':
    main()
