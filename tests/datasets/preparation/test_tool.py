"""tools/prepare_data.py in a real process with a worker, killed and started again."""

import os
import shutil
import signal
import time

from cda_mmseg.datasets.preparation.record import FILES
from tests.forked_processes import ROOT, start_process

from .processes import run_tool

CONFIG = str(ROOT / 'configs' / 'cl_gta2city.py')
PAIRS = 60


def call(folder, name, *arguments):
    process = start_process(run_tool, str(folder), str(folder / name), list(arguments))
    process.join(120)
    return process.exitcode, (folder / name).read_text()


def test_killed_and_started_again(worlds, tmp_path):
    gtav = shutil.copytree(worlds / 'gta2city' / 'gtav', tmp_path / 'gtav')
    for number in range(8, PAIRS + 1):
        for folder in ('images', 'labels'):
            os.link(gtav / folder / '00001.png', gtav / folder / f'{number:05d}.png')
    size = 'train_dataloader.dataset.pipeline.2.scale=(64,64)'
    root = f'train_dataloader.dataset.data_root={gtav}'
    arguments = [CONFIG, '--domain', 'source', '--out', 'copy', '--cfg-options', size, root]
    listing = tmp_path / 'copy' / FILES
    first = start_process(run_tool, str(tmp_path), str(tmp_path / 'first.txt'), [*arguments, '--workers', '1'])
    deadline = time.monotonic() + 600
    while first.is_alive() and time.monotonic() < deadline and not (listing.exists() and listing.stat().st_size):
        time.sleep(0.002)
    first.kill()
    first.join()
    assert first.exitcode == -signal.SIGKILL, (tmp_path / 'first.txt').read_text()
    before = listing.read_bytes().count(b'\n') // 2
    assert 0 < before < PAIRS
    # The worker of the killed process may live for a moment: the second run waits until it is gone.
    code, output = call(tmp_path, 'second.txt', *arguments, '--workers', '0')
    assert code == 0, output
    assert f'{PAIRS} pairs ({PAIRS} of 64×35)' in output and f'{PAIRS - before} written now' in output
    assert '--cfg-options train_dataloader.dataset.data_root=copy\n' in output
    assert sorted(os.listdir(tmp_path / 'copy' / 'images')) == sorted(os.listdir(gtav / 'images'))

    code, output = call(tmp_path, 'sound.txt', '--verify', 'copy')
    assert code == 0 and 'every file is as it was written' in output
    (tmp_path / 'copy' / 'images' / '00007.png').write_bytes(b'')
    code, output = call(tmp_path, 'changed.txt', '--verify', 'copy')
    assert code == 1 and 'images/00007.png: 0 bytes instead of' in output and 'Delete these files' in output


def test_errors_are_one_line(tmp_path):
    code, output = call(tmp_path, 'missing.txt', CONFIG, '--domain', 'source', '--out', 'copy', '--workers', '0')
    assert code == 1 and 'Traceback' not in output
    assert 'prepare_data.py: GTAVDataset: no folder data/gtav/images' in output
    code, output = call(tmp_path, 'empty.txt', '--verify', '.')
    assert code == 1 and output.splitlines()[-1] == 'prepare_data.py: . is no prepared copy'
