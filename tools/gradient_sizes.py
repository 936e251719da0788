"""Measure how hard each loss pulls at the encoder: ``python tools/gradient_sizes.py CONFIG CHECKPOINT``."""

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Read the command line, then measure and print."""
    parser = argparse.ArgumentParser(description="Measure the losses' gradients on E, at the state of a checkpoint.")
    parser.add_argument('config', help='config of a model with a GAN')
    parser.add_argument('checkpoint', help='checkpoint of it, such as GAN + CE at the end of the warm start')
    parser.add_argument('--batches', type=int, default=8, help='number of batches; the norms are medians over them')
    parser.add_argument('--device', default='cpu', help='device to compute on')
    arguments = parser.parse_args()
    from cda_mmseg.explained_errors import explained_errors

    with explained_errors():
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Measure and print, with errors as they are raised."""
    from prettytable import PrettyTable

    from cda_mmseg.engine.composition import read_config
    from cda_mmseg.paper.composition import main_losses
    from cda_mmseg.paper.gradient_sizes import measure_gradient_sizes

    sizes = measure_gradient_sizes(
        read_config(arguments.config),
        arguments.checkpoint,
        main_losses(ROOT / 'configs'),
        arguments.batches,
        arguments.device,
    )
    table = PrettyTable(['segmentation loss', 'gradient norm on E', 'adversarial : segmentation', 'equal-ratio weight'])
    table.align = 'r'
    table.align['segmentation loss'] = 'l'
    table.add_row(['cross entropy', f'{sizes.cross_entropy:.3g}', f'{sizes.ratio():.3g}', sizes.adversarial_weight])
    for name, size in sizes.losses.items():
        weight = sizes.equal_ratio_factor(name) * sizes.adversarial_weight
        table.add_row([name, f'{size:.3g}', f'{sizes.ratio(name):.3g}', f'{weight:.3g}'])
    print(f'Iteration {sizes.iteration}, {sizes.batches} batches, adversarial weight {sizes.adversarial_weight:g};')
    print(f'gradient norm of the adversarial term at weight 1: {sizes.adversarial:.3g}')
    print(table)


if __name__ == '__main__':
    main()
