"""Write a contact sheet per domain, as the network sees its pictures: ``python tools/browse_data.py CONFIG``."""

import argparse
from os.path import expanduser


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Write a contact sheet per domain, as the network sees its pictures.')
    parser.add_argument('config', type=expanduser, help='config file')
    parser.add_argument(
        '--out', type=expanduser, metavar='DIR', help='folder of the sheets (default: work_dirs/<config>/browse)'
    )
    parser.add_argument('--number', type=int, default=8, help='samples per domain (default: 8)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes of config keys')
    arguments = parser.parse_args()
    if arguments.number < 1:
        parser.error('--number must be at least 1')
    return arguments


def main() -> None:
    """Write the sheets."""
    arguments = parse_arguments()
    from cda_mmseg.explained_errors import explained_errors

    with explained_errors():
        browse(arguments)


def browse(arguments: argparse.Namespace) -> None:
    """Write the sheets, with errors as they are raised."""
    from pathlib import Path

    from cda_mmseg import launch
    from cda_mmseg.inspection.browse import browse

    config = launch.load_config(arguments.config, launch.read_options(arguments.cfg_options), None, 'none')
    for path in browse(config, Path(arguments.out or Path(config.work_dir) / 'browse'), arguments.number):
        print(path)


if __name__ == '__main__':
    main()
