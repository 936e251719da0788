"""Publish a network: ``python tools/publish_model.py work_dirs/my_run/iter_4000.pth --out DIR``."""

import argparse
from os.path import expanduser


def main() -> None:
    """Publish."""
    parser = argparse.ArgumentParser(description='Write a folder with a trained network that can be sent as it is.')
    parser.add_argument('checkpoint', type=expanduser, help='checkpoint of a run')
    parser.add_argument('--out', type=expanduser, required=True, help='folder to make')
    parser.add_argument('--config', type=expanduser, help="the run's config (default: as the checkpoint holds it)")
    parser.add_argument('--onnx', action='store_true', help='write model.onnx too (pip install "cda_mmseg[onnx]")')
    arguments = parser.parse_args()
    from cda_mmseg.explained_errors import explained_errors

    with explained_errors():
        publish(arguments)


def publish(arguments: argparse.Namespace) -> None:
    """Publish, with errors as they are raised."""
    import cda_mmseg.registration  # noqa: F401
    from cda_mmseg.inference.publish import publish as publish_network

    published = publish_network(arguments.checkpoint, arguments.out, arguments.config, arguments.onnx)
    print(f'{arguments.out}: {", ".join(published.files)}')
    needs = ', '.join(published.modules) or 'mmseg alone'
    print(f'Checked in a new process: three pictures are predicted alike, bit for bit, with {needs}.')


if __name__ == '__main__':
    main()
