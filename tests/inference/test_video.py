"""A video gives a video of overlays, and everything else frame by frame."""

import csv
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmseg.apis import inference_model, init_model

from cda_mmseg.engine import read_config
from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.inference import find_pictures, pack, predict_pictures
from cda_mmseg.utils.arguments import UsageError
from tests.tool_processes import SMOKE

KINDS = ['train_id', 'overlay']


@pytest.fixture
def predict(weights, tmp_path):
    """Return a function that predicts a file into ``out`` and gives the outcomes as (name, status)."""
    config = read_config(SMOKE)
    model = init_trained_model(config, weights)

    def predict(path: Path, **changes: object) -> list[tuple[str, str]]:
        out = str(tmp_path / 'out')
        outcomes = predict_pictures(find_pictures([str(path)], False, out), model, config, out, KINDS, **changes)
        return [(outcome.picture.name, outcome.status) for outcome in outcomes]

    return predict


@pytest.fixture
def clip(tmp_path):
    """Seven frames, ten a second."""
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 32))
    for _ in range(7):
        pixels = np.random.randint(0, 256, (4, 8, 3), np.uint8)
        writer.write(cv2.resize(pixels, (64, 32), interpolation=cv2.INTER_CUBIC))
    writer.release()
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_frames_are_predicted_as_pictures_are(clip, weights, predict, tmp_path):
    assert predict(clip, every=3, batch_size=2) == [('clip.mp4', 'done')]
    names = sorted(path.name for path in (tmp_path / 'out' / 'train_id' / 'clip.mp4').iterdir())
    assert names == ['000000.png', '000003.png', '000006.png']
    model = init_model(read_config(SMOKE), weights, 'cpu')
    frames = frames_of(clip)
    assert len(frames) == 7
    for name in names:
        path = tmp_path / name
        cv2.imwrite(str(path), frames[int(path.stem)])
        expected = inference_model(model, str(path)).pred_sem_seg.data[0]
        written = cv2.imread(str(tmp_path / 'out' / 'train_id' / 'clip.mp4' / name), cv2.IMREAD_UNCHANGED)
        assert (torch.from_numpy(written) == expected).float().mean() > 0.999
    overlays = tmp_path / 'out' / 'overlay' / 'clip.mp4'
    shown = frames_of(overlays)
    assert len(shown) == 3 and shown[0].shape[1] == 160 and shown[0].shape[0] > 32
    assert cv2.VideoCapture(str(overlays)).get(cv2.CAP_PROP_FPS) == pytest.approx(10 / 3, rel=0.01)
    assert sorted(path.name for path in overlays.parent.iterdir()) == ['clip.mp4']
    with (tmp_path / 'out' / 'predictions.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['name'] for row in rows] == [*(f'clip.mp4/{name}' for name in names), 'clip.mp4']
    assert float(rows[-1]['share.road']) == pytest.approx(
        np.mean([float(row['share.road']) for row in rows[:-1]]), abs=1e-5
    )
    assert predict(clip, every=3) == []
    pack(str(tmp_path / 'out'), ['train_id'], find_pictures([str(clip)], False, 'nowhere'), str(tmp_path / 'all.zip'))
    assert zipfile.ZipFile(tmp_path / 'all.zip').namelist() == [f'clip.mp4/{name}' for name in names]


def test_frames_of_a_former_run_do_not_stay(clip, predict, tmp_path):
    assert predict(clip) == [('clip.mp4', 'done')]
    with pytest.raises(UsageError, match='holds predictions with every 1, not 3'):
        predict(clip, every=3)
    assert predict(clip, every=3, overwrite=True) == [('clip.mp4', 'done')]
    names = sorted(path.name for path in (tmp_path / 'out' / 'train_id' / 'clip.mp4').iterdir())
    assert names == ['000000.png', '000003.png', '000006.png']


def test_a_truncated_video_is_not_taken_for_a_short_one(predict, tmp_path):
    path = tmp_path / 'long.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 32))
    for _ in range(40):
        writer.write(np.random.randint(0, 256, (32, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    ((name, status),) = predict(path, every=5)
    assert name == 'long.mp4' and re.fullmatch(r'\d+ frames of 40 could be read: it is truncated or damaged', status)
    assert not (tmp_path / 'out' / 'overlay' / 'long.mp4').exists()


@pytest.mark.parametrize('content', [b'', b'no video', 'no frames'])
def test_a_video_without_frames_costs_itself_only(content, predict, tmp_path):
    path = tmp_path / 'bad.avi'
    if content == 'no frames':
        cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 32)).release()
    else:
        path.write_bytes(content)
    assert predict(path) == [('bad.mp4', 'no video, or one without frames that OpenCV can read')]
    assert not (tmp_path / 'out' / 'overlay').exists()
