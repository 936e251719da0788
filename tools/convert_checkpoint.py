"""Make a released checkpoint ours: ``python tools/convert_checkpoint.py daformer latest.pth --out daformer.pth``."""

import argparse
from os.path import expanduser

FAMILIES = ('daformer', 'mic', 'mmseg')
NETWORKS = ('student', 'teacher')


def main() -> None:
    """Convert."""
    parser = argparse.ArgumentParser(description='Give the weights of a released checkpoint our names.')
    parser.add_argument('family', choices=FAMILIES, help="DAFormer's, MIC's or HRDA's, or of mmseg's model zoo")
    parser.add_argument('file', type=expanduser, help='checkpoint file or address')
    parser.add_argument('--out', type=expanduser, required=True, help='file to write; it must not exist')
    parser.add_argument(
        '--network', choices=NETWORKS, default='student', help='of DAFormer and MIC (default: student, as published)'
    )
    parser.add_argument('--trust-checkpoint', action='store_true', help='let code in the checkpoint run: only your own')
    arguments = parser.parse_args()
    from cda_mmseg.explained_errors import explained_errors

    with explained_errors():
        convert(arguments)


def convert(arguments: argparse.Namespace) -> None:
    """Convert, with errors as they are raised."""
    from cda_mmseg.engine.checkpointing.released_weights import convert_file

    number, left_out = convert_file(
        arguments.file, arguments.out, arguments.family, arguments.network, arguments.trust_checkpoint
    )
    print(f'{arguments.out}: {number} weights of backbone, neck and heads')
    for beginning, others in left_out.items():
        print(f'left out: {others} whose names begin with {beginning}')


if __name__ == '__main__':
    main()
