"""Write built-in pairs of domains in the official layouts of GTAV, SYNTHIA and Cityscapes.

``python tools/make_worlds.py --pair gta2city`` writes ``data/worlds/gta2city/{gtav,cityscapes}``. A second call with
the same arguments does nothing.
"""

import argparse
import os
import time
from pathlib import Path

from cda_mmseg.datasets.worlds import PAIRS, write_world


def parse_arguments() -> argparse.Namespace:
    """Read the command line.

    Returns:
        argparse.Namespace: The options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--pair', nargs='+', choices=PAIRS, default=['gta2city'], help='pairs to write')
    parser.add_argument('--out', type=Path, default=Path('data/worlds'), help='folder; each pair gets a folder in it')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 128), metavar=('WIDTH', 'HEIGHT'), help='pixels')
    parser.add_argument('--source', type=int, default=500, help='number of labeled source pictures')
    parser.add_argument('--target-train', type=int, default=400, help='number of unlabeled target pictures')
    parser.add_argument('--target-val', type=int, default=100, help='number of labeled target pictures')
    parser.add_argument('--seed', type=int, default=0, help='seed of the world')
    parser.add_argument('--workers', type=int, default=min(os.cpu_count() or 1, 8), help='number of processes')
    parser.add_argument('--overwrite', action='store_true', help='replace a world that has other arguments')
    return parser.parse_args()


def main() -> None:
    """Write the pairs asked for."""
    arguments = parse_arguments()
    for pair in arguments.pair:
        folder = arguments.out / pair
        start = time.monotonic()
        try:
            written = write_world(
                folder,
                pair=pair,
                size=tuple(arguments.size),
                source=arguments.source,
                target_train=arguments.target_train,
                target_val=arguments.target_val,
                seed=arguments.seed,
                workers=arguments.workers,
                overwrite=arguments.overwrite,
            )
        except (ValueError, FileExistsError) as error:
            raise SystemExit(f'make_worlds.py: {error}') from error
        if written:
            print(f'{folder}: written in {time.monotonic() - start:.1f} s')
        else:
            print(f'{folder}: already there with these arguments, nothing to do')


if __name__ == '__main__':
    main()
