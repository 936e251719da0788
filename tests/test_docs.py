"""The documents: links that lead somewhere, and nothing unfinished."""

import pkgutil
import re
from pathlib import Path

import pytest

from cda_mmseg.engine import read_config

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('configs/*.md')]


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document):
    targets = re.findall(r'\]\(([^)#\s]+)[^)]*\)', document.read_text())
    missing = [target for target in targets if '://' not in target and not (document.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_left_to_fill_in(document):
    assert re.findall(r'PLACEHOLDER|TODO|TBD|XXX|FIXME', document.read_text()) == []


def test_commands_name_files_that_exist():
    text = '\n'.join(document.read_text() for document in DOCUMENTS)
    commands = set(re.findall(r'(?:python |^)(tools/\w+\.(?:py|sh))', text, re.M))
    configs = set(re.findall(r'tools/\w+\.(?:py|sh) (configs/[\w/]+\.py)', text))
    assert len(commands) > 5 and len(configs) > 5
    assert [name for name in sorted(commands | configs) if not (ROOT / name).is_file()] == []


def test_names_of_the_package_exist():
    text = '\n'.join(document.read_text() for document in DOCUMENTS)
    names = set(re.findall(r'\bcda_mmseg(?:\.\w+)+', text))
    for module, imported in re.findall(r'^from (cda_mmseg[\w.]*) import (.+)$', text, re.M):
        names |= {f'{module}.{name.strip()}' for name in imported.split(',')}
    assert len(names) > 5
    for name in sorted(names):
        pkgutil.resolve_name(name)


def test_the_leaf_in_own_data_fits_its_data_base(tmp_path):
    """Crops smaller than the size that is padded to would be padding for the most part."""
    text = (ROOT / 'docs' / 'own_data.md').read_text()
    leaf = re.search(r'```python\n(_base_ = .*?)```', text, re.S)[1]
    leaf = leaf.replace('my_source_to_my_target', 'airsim_to_camvid').replace("'_base_/", f"'{ROOT}/configs/_base_/")
    (tmp_path / 'leaf.py').write_text(leaf)
    config = read_config(tmp_path / 'leaf.py')
    for loader in (config.train_dataloader, config.target_dataloader):
        crop = next(step for step in loader.dataset.pipeline if step.type == 'RandomCrop')
        assert tuple(crop.crop_size) == tuple(config.model.data_preprocessor.size)
    assert config.model.decode_head.num_classes == len(config.train_dataloader.dataset.metainfo.classes)
