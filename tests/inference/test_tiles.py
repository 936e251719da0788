"""Tiles give what the whole picture gives, in bounded memory."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from mmseg.structures import SegDataSample
from torch import nn

from cda_mmseg.engine import read_config
from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.inference import find_pictures, predict_pictures
from cda_mmseg.inference.tiles import OUTPUT_STRIDE, tile_starts, tiled_scores
from tests.tool_processes import ROOT, SMOKE


@pytest.mark.parametrize(
    ('length', 'tile'), [(64, 64), (10, 64), (65, 64), (95, 64), (96, 64), (1000, 96), (8192, 1024)]
)
def test_tiles_cover_a_side_at_multiples_of_the_stride(length, tile):
    starts = tile_starts(length, tile)
    assert starts[0] == 0 and all(start % OUTPUT_STRIDE == 0 for start in starts) and starts == sorted(set(starts))
    ends = [start + tile for start in starts[:-1]] + [length]
    assert length - starts[-1] < tile + OUTPUT_STRIDE
    assert all(end - start >= OUTPUT_STRIDE for start, end in zip(starts[1:], ends, strict=False))
    assert max(ends) == length


class Pointwise(nn.Module):
    """A network without context: a tile's scores are the picture's."""

    def __init__(self, align_corners):
        super().__init__()
        self.align_corners = align_corners
        self.layer = nn.Conv2d(3, 5, 1)

    def data_preprocessor(self, data, training):
        # padded to the next multiple of 16, as SegDataPreProcessor's test_cfg may ask for
        inputs = data['inputs'][0].float() / 255
        return dict(data, inputs=F.pad(inputs, (0, -inputs.shape[2] % 16, 0, -inputs.shape[1] % 16))[None])

    def encode_decode(self, inputs, metas):
        return self.layer(inputs)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', [(200, 331), (417, 700), (90, 100), (1, 5)])
def test_tiles_give_the_scores_of_the_whole_picture(size, align_corners):
    model = Pointwise(align_corners)
    inputs = torch.randint(0, 256, (3, 200, 331), dtype=torch.uint8)
    item = dict(inputs=inputs, data_samples=SegDataSample(metainfo=dict(ori_shape=size, img_shape=(200, 331))))
    with torch.no_grad():
        rows = list(tiled_scores(model, item, (96, 64)))
        whole = F.interpolate(
            model.layer(inputs[None].float() / 255), size, mode='bilinear', align_corners=align_corners
        )
    assert torch.cat(rows, 1).shape == whole[0].shape
    assert torch.allclose(torch.cat(rows, 1), whole[0], atol=2e-5)
    assert max(part.shape[1] for part in rows) <= 64
    assert isinstance(item['data_samples'], BaseDataElement) and item['data_samples'].img_shape == (200, 331)


def test_one_tile_is_the_whole_picture(folder, weights, tmp_path):
    config = read_config(SMOKE)
    model = init_trained_model(config, weights)

    def predict(name: str, **changes: object) -> list[np.ndarray]:
        out = str(tmp_path / name)
        pictures = find_pictures([str(folder)], True, out)
        outcomes = list(predict_pictures(pictures, model, config, out, kinds=['train_id', 'confidence'], **changes))
        assert {outcome.status for outcome in outcomes} == {'done'}
        files = sorted(Path(out).rglob('*.png'))
        return [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files]

    whole = predict('whole')
    one = predict('one', tile=(64, 64), batch_size=3)
    assert all(np.array_equal(a, b) for a, b in zip(one, whole, strict=True))


MEASURED = """
import sys, resource
from cda_mmseg.engine import read_config
from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.inference import find_pictures, predict_pictures
weights, picture, out, tile = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
config = read_config(%r)
config.test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
model = init_trained_model(config, weights)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for outcome in predict_pictures(find_pictures([picture], False, out), model, config, out, tile=(tile, tile)):
    assert outcome.status == 'done', outcome
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ('side', 'tile', 'most'), [(2048, 256, 350), pytest.param(8192, 1024, 2048, marks=pytest.mark.campaign)]
)
def test_a_large_picture_needs_bounded_memory(side, tile, most, weights, tmp_path):
    """In MiB beyond the model; the class scores of the pictures would be 304 MiB and 4.8 GiB."""
    picture = str(tmp_path / 'large.png')
    small = np.random.randint(0, 256, (64, 64, 3), np.uint8)
    cv2.imwrite(picture, cv2.resize(small, (side, side), interpolation=cv2.INTER_NEAREST))
    command = [sys.executable, '-c', MEASURED % SMOKE, weights, picture, str(tmp_path / 'out'), str(tile)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    kibibytes = int(done.stdout.splitlines()[-1])
    print(f'{kibibytes / 1024:.0f} MiB')
    assert kibibytes / 1024 <= most
