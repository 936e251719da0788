"""Find out whether a file carries a program, without running any of it."""

import bz2
import gzip
import io
import lzma
import pickletools
import re
import tarfile
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from cda_mmseg.utils.loading.allow_list import allowed_globals

_NAME = re.compile(r'[\w.]+')
# what torch itself rebuilds tensors from; its own list is private
_TENSOR_PARTS = re.compile(
    r'torch\.(\w*Storage|\w*Tensor|Size|device|u?int\d+|b?float\w+|double|half|long|short|bool|q\w+|bits\w+|complex\w+)'
    r'|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.(cuda|storage)\.\w*Storage'
    r'|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout|collections\.(OrderedDict|Counter)'
    r'|_codecs\.encode|builtins\.(bytearray|set|complex)|numpy\._?core\.numeric\._frombuffer'
)
# pickles begin with the structure of what they hold, and a small file may unpack to a huge one
_BYTES_LOOKED_AT = 64 << 20
_NESTED_CONTAINERS = 3


def code_in(path: str) -> list[str]:
    """List what the pickles in a file name beyond plain data and tensors.

    It looks at any protocol, several pickles in a row, object arrays of NumPy, and into zip, tar, gzip, bzip2 and xz
    files.

    Args:
        path: The file; nothing of it is imported or called.

    Returns:
        Names such as ``posix.system``, sorted; ``TorchScript`` for a compiled program. Empty if the file holds no
        pickle, or only harmless ones.
    """
    harmless = {
        entry[1] if isinstance(entry, tuple) else f'{entry.__module__}.{entry.__qualname__}'
        for entry in allowed_globals()
    }
    with open(path, 'rb') as file:
        # protocols 0 to 2 write Python 2's name of the module
        named = {name.replace('__builtin__.', 'builtins.') for name in _look_into(file, _NESTED_CONTAINERS)}
    return sorted(name for name in named if name not in harmless and not _TENSOR_PARTS.fullmatch(name))


def _look_into(file: BinaryIO, levels: int) -> Iterator[str]:
    """Yield what the pickles of a file name, and of the files in it if it is a container."""
    # archives are read by zipfile and friends, which raise nearly anything on damaged bytes
    start = file.read(8)
    file.seek(0)
    if levels > 0 and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(name.endswith('/constants.pkl') for name in archive.namelist()):
                yield 'TorchScript'
            for name in archive.namelist():
                # the others are the raw numbers of tensors
                if name.endswith(('.pkl', '.pickle', '.npy', '.pth', '.pt')):
                    with archive.open(name) as member:
                        yield from _look_into(io.BytesIO(member.read(_BYTES_LOOKED_AT)), levels - 1)
        return
    file.seek(0)
    for magic, module in ((b'\x1f\x8b', gzip), (b'BZh', bz2), (b'\xfd7zXZ', lzma)):
        if levels > 0 and start.startswith(magic):
            with module.open(file) as content:
                yield from _look_into(io.BytesIO(content.read(_BYTES_LOOKED_AT)), levels - 1)
            return
    if levels > 0 and tarfile.is_tarfile(file):
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            for member in archive:
                if member.isfile():
                    content = archive.extractfile(member).read(_BYTES_LOOKED_AT)
                    yield from _look_into(io.BytesIO(content), levels - 1)
        return
    file.seek(0)
    if start.startswith(b'\x93NUMPY'):
        # an array of objects is its header, of two bytes' length or four, and a pickle
        header = file.read(12)
        size = int.from_bytes(header[8:10] if header[6] == 1 else header[8:12], 'little')
        file.seek((10 if header[6] == 1 else 12) + size)
    yield from _named_globals(io.BytesIO(file.read(_BYTES_LOOKED_AT)))


def _named_globals(file: BinaryIO) -> Iterator[str]:
    """Yield the classes and functions that pickles, one after the other, name; whatever follows them is ignored."""
    while True:
        pushed: list[str | None] = []
        memo: dict[int, str | None] = {}
        try:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ('GLOBAL', 'INST'):
                    if all(map(_NAME.fullmatch, argument.split(' '))):
                        yield argument.replace(' ', '.')
                elif opcode.name == 'STACK_GLOBAL':
                    yield '.'.join(name or '(a computed name)' for name in pushed[-2:])
                elif opcode.name in ('EXT1', 'EXT2', 'EXT4'):
                    yield f'extension {argument} of copyreg'
                elif opcode.name in ('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'):
                    memo[len(memo) if argument is None else argument] = pushed[-1] if pushed else None
                elif opcode.name in ('GET', 'BINGET', 'LONG_BINGET'):
                    pushed.append(memo.get(argument))
                elif opcode.stack_after:
                    pushed.append(argument if isinstance(argument, str) else None)
        except (ValueError, IndexError, UnicodeError):
            return
