"""What a PNG file says about itself before it is decoded."""

import zlib
from collections.abc import Iterator

SIGNATURE = b'\x89PNG\r\n\x1a\n'
# Of a chunk beside its data: length, type and check sum.
LENGTH, TYPE, SUM = 4, 4, 4


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Walk over the chunks of a PNG up to its end chunk, or the first that breaks off.

    Args:
        data (bytes): The file, beginning with the signature.

    Yields:
        tuple[bytes, int, int]: Type, and where its data begins and ends.
    """
    place = len(SIGNATURE)
    while place + LENGTH + TYPE + SUM <= len(data):
        begin = place + LENGTH + TYPE
        end = begin + int.from_bytes(data[place : place + LENGTH], 'big')
        if end + SUM > len(data):
            return
        kind = data[place + LENGTH : begin]
        yield kind, begin, end
        if kind == b'IEND':
            return
        place = end + SUM


def check_png(path: str, data: bytes, last: bytes = b'IEND') -> None:
    """Compare the check sums of a PNG file's chunks with their contents.

    Pillow decodes a label with a flipped bit to other classes.

    Args:
        path (str): The file, for errors.
        data (bytes): What it holds; anything but a PNG passes.
        last (bytes): Type of the last chunk that is looked at, ``b'IHDR'`` for the header alone.

    Raises:
        ValueError: If a check sum differs, or the file breaks off before that chunk's end.
    """
    if not data.startswith(SIGNATURE):
        return
    view = memoryview(data)
    for kind, begin, end in chunks(data):
        if zlib.crc32(view[begin - TYPE : end]) != int.from_bytes(view[end : end + SUM], 'big'):
            raise ValueError(
                f'{path}: damaged PNG file (the check sum of its {kind.decode("latin-1")} chunk at byte '
                f'{begin - TYPE - LENGTH} differs); fetch it again'
            )
        if kind == last:
            return
    raise ValueError(f'{path}: truncated PNG file; fetch it again')


def size_of(data: bytes) -> tuple[int, int]:
    """Read width and height, in pixels, from a PNG's header."""
    return int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big')
