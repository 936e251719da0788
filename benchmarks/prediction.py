"""What tools/predict.py costs beside the network's forward passes, and what an overlay costs.

    python -m benchmarks.prediction [--repeats 5] [--device cpu] [--threads 1]

The tool reads files, predicts and writes class ids and overlays. It is compared with forward passes of one network,
the smallest shipped one, on the same pictures that are read already. Both are timed in turns.
"""

import argparse
import os
import tempfile

import cv2
import numpy as np
import torch
from mmseg.datasets import CityscapesDataset

from benchmarks.measuring import busy, machine, medians_in_turns
from benchmarks.rows import Row, format_table
from benchmarks.street_step import CONFIG as PAPER
from benchmarks.street_step import build_model
from cda_mmseg.engine.composition import read_config
from cda_mmseg.inference import find_pictures, predict_pictures
from cda_mmseg.inference.painting import add_legend, paint_classes, paint_over
from cda_mmseg.inference.reading import PictureReader

CONFIG = PAPER.with_name('cl_gta2city_segformer_b0.py')
SIZE, LARGE = (512, 1024), (1024, 2048)
PICTURES = 3
OVERLAY_SECONDS = 0.15


def picture(size: tuple[int, int], seed: int) -> np.ndarray:
    """Draw a picture of smooth regions."""
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 32, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def rows(device: str = 'cpu', repeats: int = 5) -> list[Row]:
    """Measure the whole tool, and one overlay.

    Args:
        device (str): 'cpu' or a GPU.
        repeats (int): Times each side is run.
    """
    config = read_config(CONFIG)
    config.model.backbone.init_cfg = None
    config.model.adaptations = {}
    model = build_model(config, device).eval()
    model.dataset_meta = CityscapesDataset.METAINFO
    palette = CityscapesDataset.METAINFO['palette']
    image = picture(LARGE, 0)
    ids = image[..., 0] // 14

    def overlay() -> None:
        painted = paint_over(image, paint_classes(ids, palette), 0.5)
        add_legend(painted, np.unique(ids), CityscapesDataset.METAINFO['classes'], palette)

    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, 'out')
        for number in range(PICTURES):
            cv2.imwrite(os.path.join(folder, f'{number}.png'), picture(SIZE, number))
        pictures = find_pictures([folder], False, out)
        reader = PictureReader(pictures, config, keeps_images=False)
        inputs = [reader[number][0] for number in range(PICTURES)]
        batches = [
            model.data_preprocessor(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]))
            for item in inputs
        ]

        @torch.no_grad()
        def forward() -> None:
            for batch in batches:
                model.encode_decode(batch['inputs'], [batch['data_samples'][0].metainfo])

        def predict() -> None:
            outcomes = list(predict_pictures(pictures, model, config, out, overwrite=True))
            assert {outcome.status for outcome in outcomes} == {'done'}

        seconds = medians_in_turns(dict(forward=forward, predict=predict, overlay=overlay), repeats, device)
    return [
        Row(
            name=f'tools/predict.py, one {SIZE[1]}×{SIZE[0]} picture, SegFormer-B0',
            against='forward pass',
            ratio=seconds['predict'] / seconds['forward'],
            must=1.15,
            aim=None,
            ours=f'{seconds["predict"] / PICTURES:.2f} s',
            theirs=f'{seconds["forward"] / PICTURES:.2f} s',
        ),
        Row(
            name=f'overlay of one {LARGE[1]}×{LARGE[0]} picture',
            against='what it may take',
            ratio=seconds['overlay'] / OVERLAY_SECONDS,
            must=1.0,
            aim=None,
            ours=f'{seconds["overlay"]:.3f} s',
            theirs=f'{OVERLAY_SECONDS} s',
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description='Time of tools/predict.py against forward passes.')
    parser.add_argument('--repeats', type=int, default=5, help='times each side is run')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=1, help='threads of a CPU')
    options = parser.parse_args()
    reason = busy()
    if reason:
        parser.exit(1, f'{reason}\n')
    load = os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    print(format_table(rows(options.device, options.repeats)))
    print(
        f'\n{machine(options.device, options.threads)}; {options.repeats} repeats in turns, medians; '
        f'load {load:.2f} at the start.'
    )


if __name__ == '__main__':
    main()
