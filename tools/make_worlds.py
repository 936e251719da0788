"""Write built-in pairs of domains in the official layouts of GTAV, SYNTHIA and Cityscapes.

``python tools/make_worlds.py --pair gta2city`` writes ``data/worlds/gta2city/{gtav,cityscapes}``. A second call with
the same arguments does nothing.
"""

import argparse
import os
import time
from pathlib import Path

PAIRS = (
    'gta2city',
    'synthia2city',
    'appearance',
    'no_gap',
    'urbansyn2city',
    'city2darkzurich',
    'city2acdc',
    'rural2urban',
    'urban2rural',
)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
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
    """Read the command line, then write the pairs."""
    arguments = parse_arguments()
    from cda_mmseg.explained_errors import explained_errors

    with explained_errors():
        write(arguments)


def write(arguments: argparse.Namespace) -> None:
    """Write the pairs asked for, with errors as they are raised."""
    from cda_mmseg.datasets.worlds import write_world

    for pair in arguments.pair:
        folder = arguments.out / pair
        start = time.monotonic()
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
        if written:
            print(f'{folder}: written in {time.monotonic() - start:.1f} s')
        else:
            print(f'{folder}: already there with these arguments, nothing to do')


if __name__ == '__main__':
    main()
