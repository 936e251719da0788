import os
import subprocess
import sys


def test_text_is_utf_8_whatever_the_locale(tmp_path):
    """File names that are no UTF-8 keep their bytes."""
    code = (
        'import locale, os, sys\n'
        'from cda_mmseg.utils.atomic_file import text_file, write_text\n'
        'path, name = sys.argv[1], os.fsdecode(b"\\xdf")\n'
        'assert locale.getencoding().lower() not in ("utf-8", "utf8"), locale.getencoding()\n'
        'write_text(path, "\\u2212" + "\\udcdf")\n'
        'assert text_file(path, "r").read() == "\\u2212" + "\\udcdf"\n'
    )
    environment = {**os.environ, 'LC_ALL': 'POSIX', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}
    subprocess.run([sys.executable, '-c', code, str(tmp_path / 'a')], env=environment, check=True)
    assert (tmp_path / 'a').read_bytes() == '\u2212'.encode() + b'\xdf'
