"""The lock of a folder between real processes."""

import os
import re
import signal
import subprocess
import sys

import pytest

from cda_mmseg.utils.folder_lock import locked_folder

HOLD = """
import os, sys, time
from cda_mmseg.utils.folder_lock import locked_folder
with locked_folder(sys.argv[1], '--out'):
    child = os.fork()  # as data loaders do; it outlives its parent
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_a_killed_process_gives_its_lock_back_at_once(tmp_path):
    folder = tmp_path / 'not there yet'
    holder = subprocess.Popen([sys.executable, '-c', HOLD, folder], stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    message = f'{re.escape(str(folder))} is in use by process {holder.pid} on .* choose another folder with --work-dir'
    with pytest.raises(BlockingIOError, match=message), locked_folder(str(folder), '--work-dir'):
        pass
    try:
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # still there
        with locked_folder(str(folder), '--work-dir'):
            assert f'process {os.getpid()} on' in (folder / '.lock').read_text()
    finally:
        os.kill(child, signal.SIGKILL)


def test_one_process_may_lock_a_folder_again_and_again(tmp_path):
    for _ in range(2):
        with locked_folder(str(tmp_path), '--work-dir'):
            pass
