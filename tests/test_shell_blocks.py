"""Every shell block of the documents is run here on built-in data, or says what it needs that is not here."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_docs import DOCUMENTS

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'^(<!-- needs .*? -->\n)?```(\S*)\n(.*?)^```$', re.S | re.M)
LANGUAGES = {'bash', 'python', 'text', 'bibtex', 'mermaid', '{toctree}'}
NEEDS = {'data', 'a GPU', 'the network', 'a cluster', 'hours'}
QUICK = ('docs/quick_start.md', 'docs/add_a_method.md')
PICTURE = 'data/worlds/smoke_gta2city/cityscapes/leftImg8bit/val/*/*.png'


def blocks(document: Path) -> Iterator[tuple[str, str, str]]:
    """Yield what a block needs, its language and its lines."""
    for mark, language, code in BLOCK.findall(document.read_text()):
        yield mark.removeprefix('<!-- needs ').removesuffix(' -->\n'), language, code


def runs_here(document: Path) -> bool:
    return any(language == 'bash' and not needs for needs, language, _ in blocks(document))


def on_built_in_data(code: str) -> str:
    """Put the smoke-sized child in the place of each leaf, and files in the place of names in capitals."""
    for leaf in set(re.findall(r'\bconfigs/(\w+)\.py', code)):
        if (ROOT / 'configs' / 'smoke' / f'{leaf}.py').is_file():
            code = code.replace(f'configs/{leaf}.py', f'configs/smoke/{leaf}.py')
    code = re.sub(r' \[[^]]*\]', '', code)  # what may be left out
    names = dict(
        CONFIG='configs/smoke/cl_gta2city.py',
        CHECKPOINT='work_dirs/cl_gta2city/iter_4.pth',
        WORK_DIR='work_dirs/cl_gta2city',
        PICTURES=f"'{PICTURE}'",
        DIR='out',
    )
    return re.sub(r'\b(' + '|'.join(names) + r')\b', lambda name: names[name[0]], code)


def run_page(document: Path, folder: Path, worlds: Path) -> None:
    """Run a page's blocks one after the other, in a folder with what a clone has."""
    for name in ('configs', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    (folder / 'data').mkdir()
    (folder / 'data' / 'worlds').symlink_to(worlds / 'data' / 'worlds')
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    environment = {**os.environ, 'PATH': path, 'PYTHONPATH': str(ROOT), 'XDG_CACHE_HOME': str(folder / 'cache')}
    if any(name in document.read_text() for name in ('CHECKPOINT', 'WORK_DIR', 'work_dirs/cl_gta2city/')):
        train = 'python tools/train.py configs/smoke/cl_gta2city.py'
        subprocess.run(['bash', '-ec', train], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    for needs, language, code in blocks(document):
        if language == 'python' and (named := re.match(r'# (\w+\.py)\n', code)):
            (folder / named[1]).write_text(code)
        elif language == 'bash' and not needs:
            done = subprocess.run(
                ['bash', '-ec', on_built_in_data(code)], cwd=folder, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f'{code}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}'


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_says_what_it_is_and_what_it_needs(document):
    fences = len(re.findall(r'^```', document.read_text(), re.M))
    found = list(blocks(document))
    assert fences == 2 * len(found)
    assert {language for _, language, _ in found} <= LANGUAGES
    assert {needs for needs, _, _ in found if needs} <= NEEDS


@pytest.mark.parametrize('page', QUICK)
def test_the_quick_pages_run(page, smoke_worlds, tmp_path):
    assert runs_here(ROOT / page)
    run_page(ROOT / page, tmp_path, smoke_worlds)


@pytest.mark.campaign
@pytest.mark.parametrize(
    'document',
    [one for one in DOCUMENTS if runs_here(one) and str(one.relative_to(ROOT)) not in QUICK],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_other_pages_run(document, smoke_worlds, tmp_path):
    run_page(document, tmp_path, smoke_worlds)
