"""How to add a backbone, as docs/backbones.md says it, on a built-in world."""

import re
import subprocess
import sys
from pathlib import Path

from mmengine.runner import Runner

from cda_mmseg.engine import read_config

ROOT = Path(__file__).resolve().parents[1]
SECTION = (ROOT / 'docs' / 'backbones.md').read_text().partition('## Add one in five minutes')[2]


def test_the_backbone_of_the_docs_trains(smoke_worlds, tmp_path, monkeypatch):
    monkeypatch.chdir(smoke_worlds)
    block = re.search(r'```python\n# mine\.py\n(.*?)```', SECTION, re.S)[1]
    (tmp_path / 'mine.py').write_text(block.replace("'configs/", f"'{ROOT}/configs/smoke/"))
    config = read_config(tmp_path / 'mine.py')
    config.model.backbone.init_cfg = None
    config.work_dir = str(tmp_path / 'run')
    options = re.search(r'train\.py mine\.py --cfg-options (.*)', SECTION)[1].split()
    config.merge_from_dict({key: int(value) for key, value in (option.split('=') for option in options)})
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    runner = Runner.from_cfg(config)
    runner.train()
    assert type(runner.model.backbone).__name__ == 'MobileNetV2'
    assert (tmp_path / 'run' / 'iter_4.pth').is_file()


def test_the_maps_of_the_docs():
    code = re.search(r'python -c "\n(.*?)"\n```', SECTION, re.S)[1]
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    shapes = re.findall(r'\(1, (\d+), (\d+), (\d+)\)', done.stdout)
    assert shapes == [('24', '16', '16'), ('32', '8', '8'), ('96', '8', '8'), ('320', '8', '8')]
    assert 'It prints 24, 32, 96 and 320 channels' in SECTION
