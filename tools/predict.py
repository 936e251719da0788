"""Predict pictures: ``python tools/predict.py FOLDER --config CONFIG --checkpoint CHECKPOINT --out DIR``."""

import argparse
import os
import signal
import sys
from os.path import expanduser

KINDS = ('train_id', 'label_id', 'color', 'overlay', 'confidence')


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Predict pictures; the same command goes on where one was stopped.')
    parser.add_argument(
        'inputs',
        nargs='+',
        type=expanduser,
        metavar='INPUT',
        help="picture, folder, '*.png' in quotes, .txt list or video",
    )
    parser.add_argument('--config', type=expanduser, help='config file of the network')
    parser.add_argument('--checkpoint', type=expanduser, help='its weights: file or address')
    parser.add_argument('--model', type=expanduser, help='published folder or .onnx file, in the place of both')
    parser.add_argument('--out', type=expanduser, required=True, help='folder to write into')
    parser.add_argument('--recursive', action='store_true', help='enter folders in folders')
    parser.add_argument(
        '--write', nargs='+', choices=KINDS, default=['train_id', 'overlay'], help='what (default: train_id overlay)'
    )
    parser.add_argument('--batch-size', type=int, default=1, help='pictures per forward pass (default: 1)')
    parser.add_argument('--workers', type=int, default=2, help='processes that read pictures (default: 2)')
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: a GPU if there is one)')
    parser.add_argument('--amp', action='store_true', help='compute in mixed precision')
    parser.add_argument(
        '--tile', nargs=2, type=int, metavar=('H', 'W'), help='score large pictures by tiles, in multiples of 32 pixels'
    )
    parser.add_argument('--opacity', type=float, default=0.5, help='of the colours in an overlay, 0 to 1')
    parser.add_argument('--overwrite', action='store_true', help='predict anew what is predicted already')
    parser.add_argument('--every', type=int, default=1, metavar='N', help='predict every N-th frame of a video')
    parser.add_argument('--zip', type=expanduser, metavar='FILE', help='pack the predictions, once all are there')
    arguments = parser.parse_args()
    ways = (arguments.model is not None, arguments.config is not None, arguments.checkpoint is not None)
    if ways not in ((True, False, False), (False, True, True)):
        parser.error('name the network by --config and --checkpoint, or by --model alone')
    if (arguments.model or '').endswith('.onnx') and (arguments.amp or arguments.device not in (None, 'cpu')):
        parser.error('an .onnx model runs on the CPU, in the precision that it has: leave out --amp and --device')
    if min(arguments.batch_size, arguments.every) < 1 or arguments.workers < 0 or not 0 <= arguments.opacity <= 1:
        parser.error('--batch-size and --every are at least 1, --workers at least 0, --opacity 0 to 1')
    if arguments.tile and not all(side >= 64 and side % 32 == 0 for side in arguments.tile):
        parser.error(f'--tile {arguments.tile[0]} {arguments.tile[1]}: both are multiples of 32, at least 64')
    return arguments


def main() -> None:
    """Predict."""
    arguments = parse_arguments()
    # A scheduler's SIGTERM ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from cda_mmseg.explained_errors import explained_errors

    try:
        with explained_errors():
            failed = predict(arguments)
    except KeyboardInterrupt:
        print('Stopped. The same command goes on from there.', file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    sys.exit(1 if failed else 0)


def predict(arguments: argparse.Namespace) -> int:
    """Predict, with errors as they are raised; count the pictures that could not be."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from cda_mmseg import launch
    from cda_mmseg.engine.checkpointing.fitting import init_trained_model
    from cda_mmseg.inference import find_pictures, pack, predict_pictures
    from cda_mmseg.inference.published_network import read_published
    from cda_mmseg.utils.folder_lock import locked_folder

    pictures = find_pictures(arguments.inputs, arguments.recursive, arguments.out)
    device = launch.usable_device(arguments.device)
    if arguments.model:
        model, config = read_published(arguments.model, device)
    else:
        config = launch.load_config(arguments.config, None, None, 'none')
        model = init_trained_model(config, arguments.checkpoint, device)
    done = failed = 0
    kinds = list(dict.fromkeys(arguments.write))
    with (
        locked_folder(arguments.out, '--out'),
        Progress('pictures', MofNCompleteColumn(), BarColumn(), 'left', TimeRemainingColumn()) as progress,
    ):
        outcomes = predict_pictures(
            pictures,
            model,
            config,
            arguments.out,
            kinds,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            amp=arguments.amp,
            tile=arguments.tile and tuple(arguments.tile),
            opacity=arguments.opacity,
            overwrite=arguments.overwrite,
            every=arguments.every,
        )
        for outcome in progress.track(outcomes, total=len(pictures)):
            if outcome.status == 'done':
                done += 1
            else:
                failed += 1
                print(f'{outcome.picture.path}: {outcome.status}', file=sys.stderr)
    if arguments.zip and not failed:
        pack(arguments.out, kinds, pictures, arguments.zip)
    print(f'{arguments.out}: {done} predicted, {len(pictures) - done - failed} were there, {failed} failed.')
    return failed


if __name__ == '__main__':
    main()
