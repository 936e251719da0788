"""MMSegmentation's own tools, from the installed package, on a shipped config. docs/mmseg_tools.md is what they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mmseg
import pytest
import torch
from PIL import Image

from cda_mmseg.datasets.worlds import write_world
from tests.campaigns.training import ROOT, train

TOOLS = Path(mmseg.__path__[0]) / '.mim' / 'tools'
DOCS = (ROOT / 'docs' / 'mmseg_tools.md').read_text()
SMOKE = ROOT / 'configs' / 'smoke' / 'cl_gta2city.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A trained model, its data and the documented config of one domain. The benchmark wants 200 images."""
    folder = tmp_path_factory.mktemp('host')
    world = folder / 'data' / 'worlds' / 'smoke_gta2city'
    write_world(world, 'gta2city', size=(64, 32), source=8, target_train=8, target_val=200)
    train('smoke/cl_gta2city', folder / 'run', folder)
    one_domain = re.search(r'```python\n(.*?)```', DOCS, re.S)[1]
    (folder / 'one_domain.py').write_text(one_domain.replace("'configs/cl_gta2city.py'", repr(str(SMOKE))))
    return folder


def run(folder: Path, tool: str, *arguments: object, code: int = 0) -> str:
    command = [sys.executable, str(TOOLS / tool), *map(str, arguments)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'MPLBACKEND': 'Agg'}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.campaign
def test_print_config(folder):
    run(folder, 'misc/print_config.py', SMOKE, '--graph')
    assert 'VGG(' in (folder / 'example-graph.txt').read_text()


@pytest.mark.campaign
@pytest.mark.parametrize('place', ['misc', 'analysis_tools'])
@pytest.mark.parametrize('config, images', [(SMOKE, 'gtav/images'), ('one_domain.py', 'leftImg8bit/train')])
def test_browse_dataset(folder, tmp_path, place, config, images):
    run(folder, f'{place}/browse_dataset.py', config, '--output-dir', tmp_path, '--not-show')
    # one of them adds a number to the name
    shown = {path.name.split('.')[0] for path in tmp_path.rglob('*.png')}
    assert shown == {path.stem for path in (folder / 'data').rglob('*.png') if images in str(path)}


@pytest.mark.campaign
def test_scores_and_predictions_with_and_without_augmentation(folder):
    for name, arguments in (('plain', ()), ('augmented', ('--tta',))):
        run(folder, 'test.py', SMOKE, 'run/iter_4.pth', '--work-dir', name, '--out', f'{name}_out', *arguments)
        scores = json.loads(next((folder / name).glob('*/[0-9]*.json')).read_text())
        assert {'target/mIoU', 'source/mIoU'} <= scores.keys()
        written = [len([*(folder / f'{name}_out' / domain).glob('*.png')]) for domain in ('target', 'source')]
        assert written[0] == 200 and written[1] > 0
    run(folder, 'analysis_tools/confusion_matrix.py', 'one_domain.py', 'plain_out/target', 'matrix')
    assert Image.open(folder / 'matrix' / 'confusion_matrix.png').size[0] > 1000


@pytest.mark.campaign
def test_get_flops_counts_the_network_that_predicts(folder):
    def parameters(config):
        number, unit = re.search(
            r'Params: ([\d.]+)([KM])', run(folder, 'analysis_tools/get_flops.py', config, '--shape', 32, 64)
        ).groups()
        return float(number) * dict(K=1e3, M=1e6)[unit]

    weights = torch.load(folder / 'run' / 'iter_4.pth', weights_only=False)['state_dict']
    sizes = {name: value.numel() for name, value in weights.items() if value.is_floating_point()}
    encoder = sum(size for name, size in sizes.items() if not name.startswith('adaptations.'))
    assert parameters(SMOKE) == pytest.approx(encoder, rel=1e-2)
    assert parameters('run/cl_gta2city.py') == pytest.approx(sum(sizes.values()), rel=1e-2)


@pytest.mark.campaign
def test_benchmark(folder):
    run(folder, 'analysis_tools/benchmark.py', SMOKE, 'run/iter_4.pth', '--work-dir', 'speed')
    assert json.loads(next((folder / 'speed').glob('*.json')).read_text())['average_fps'] > 0


@pytest.mark.campaign
def test_train_and_its_mixed_precision(folder):
    run(folder, 'train.py', SMOKE, '--work-dir', 'trained')
    assert (folder / 'trained' / 'iter_4.pth').is_file()
    if not torch.cuda.is_available():
        assert 'AmpOptimizerWrapper' in run(folder, 'train.py', SMOKE, '--amp', '--work-dir', 'mixed', code=1)


@pytest.mark.campaign
def test_publish_model_reads_no_checkpoint_of_a_run(folder):
    """torch 2.6 and later refuse MMEngine's own history in it."""
    assert 'HistoryBuffer' in run(folder, 'misc/publish_model.py', 'run/iter_4.pth', 'published.pth', code=1)


def test_the_documented_table_names_every_tool():
    for place in ('misc/*.py', 'analysis_tools/*.py', 'test.py', 'train.py'):
        for path in TOOLS.glob(place):
            assert f'| `{path.relative_to(TOOLS)}`' in DOCS or f', `{path.relative_to(TOOLS)}`' in DOCS
