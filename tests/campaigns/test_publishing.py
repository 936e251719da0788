"""Published folders where nothing of this project is: an environment with PyPI's torch and OneDL's packages alone."""

import os
import shutil
import subprocess
import venv

import cv2
import numpy as np
import pytest
from mmengine.runner.checkpoint import load_checkpoint
from mmseg.apis import inference_model, init_model

from cda_mmseg.engine import read_config
from cda_mmseg.inference.publish import publish
from tests.tool_processes import ROOT, finish_tool, options, output_of, start_tool

LOCK = ROOT / 'requirements' / 'locked.txt'
NETWORKS = {
    'ResNet': 'self_training_gta2city_deeplabv3plus_r50',
    'MiT': 'cl_gta2city_segformer_b0',
    'Swin': 'self_training_gta2city_upernet_swin_t',
}
PREDICT = """
import sys, numpy
from mmseg.apis import inference_model, init_model
config, weights, out, *pictures = sys.argv[1:]
model = init_model(config, weights, device='cpu')
results = [inference_model(model, picture) for picture in pictures]
numpy.savez(out, *[result.seg_logits.data.numpy() for result in results])
try:
    import cda_mmseg
except ImportError:
    print('alone')
"""


@pytest.fixture(scope='module')
def python(tmp_path_factory):
    """An interpreter of an environment with the tested versions of torch and OneDL's packages."""
    folder = tmp_path_factory.mktemp('clean')
    venv.create(folder, with_pip=True)
    made = folder / 'bin' / 'python'
    packages = ['torch', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation']
    environment = {**os.environ, 'MMCV_WITH_OPS': '0'}
    subprocess.run([made, '-m', 'pip', 'install', '--constraint', LOCK, *packages], env=environment, check=True)
    # As the README says for machines without libGL, which this one may be.
    subprocess.run([made, '-m', 'pip', 'uninstall', '-y', 'opencv-python'], check=True)
    subprocess.run([made, '-m', 'pip', 'install', '--constraint', LOCK, 'opencv-python-headless'], check=True)
    return made


@pytest.mark.campaign
@pytest.mark.parametrize('name', NETWORKS)
def test_a_published_folder_predicts_the_same_where_nothing_of_ours_is(name, python, smoke_worlds, tmp_path):
    config = ROOT / 'configs' / 'smoke' / f'{NETWORKS[name]}.py'
    changes = options(train_cfg__max_iters=2, train_cfg__val_interval=2)
    process = start_tool(tmp_path / 'run', smoke_worlds, *changes, config=str(config))
    assert finish_tool(process) == 0, output_of(tmp_path / 'run')
    publish(str(tmp_path / 'run' / 'iter_2.pth'), str(tmp_path / 'folder'))
    sent = shutil.move(tmp_path / 'folder', tmp_path / 'elsewhere')

    pictures = [str(tmp_path / f'{number}.png') for number in range(3)]
    for picture in pictures:
        cv2.imwrite(picture, np.random.randint(0, 256, (60, 120, 3), np.uint8))
    (weights,) = sent.glob('model-*.pth')
    command = [python, '-c', PREDICT, sent / 'config.py', weights, tmp_path / 'out.npz', *pictures]
    outside = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run(command, cwd=tmp_path, env=outside, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.splitlines()[-1] == 'alone'

    model = init_model(read_config(config), device='cpu')
    load_checkpoint(model, str(tmp_path / 'run' / 'iter_2.pth'), map_location='cpu')
    with np.load(tmp_path / 'out.npz') as made:
        for picture, logits in zip(pictures, made.values(), strict=True):
            assert np.array_equal(logits, inference_model(model, picture).seg_logits.data.numpy())
