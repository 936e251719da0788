"""Write what runs came to into one HTML file: ``python tools/report.py WORK_DIR NAME=WORK_DIR --out report.html``."""

import argparse
import sys
from os.path import expanduser


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description='Write what runs came to into one HTML file.')
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='[NAME=]WORK_DIR',
        help='runs of your own, whose configs are started; the first is the baseline, the errors shown are the '
        "last one's. Runs of one name are seeds of it (default: name of the folder, above one called seed0)",
    )
    parser.add_argument('--out', type=expanduser, default='report.html', help='the file (default: report.html)')
    parser.add_argument('--images', type=int, help="predict at most so many of the target's images (default: all)")
    parser.add_argument('--device', help='where to predict (default: the first GPU, else cpu)')
    arguments = parser.parse_args()
    if arguments.images is not None and arguments.images < 1:
        parser.error(f'--images must be at least 1, got {arguments.images}')
    from cda_mmseg import launch
    from cda_mmseg.explained_errors import explained_errors
    from cda_mmseg.report import named_folder, write_report
    from cda_mmseg.utils.loading import install_safe_loader

    failures: list[str] = []
    with explained_errors():
        install_safe_loader()
        device = launch.usable_device(arguments.device)
        folders = [named_folder(run) for run in arguments.runs]
        write_report(folders, arguments.out, arguments.images, device, failures.append)
    print(f'Report: {arguments.out}')
    if failures:
        sys.exit('\n'.join(f'report.py: {failure}' for failure in failures))


if __name__ == '__main__':
    main()
