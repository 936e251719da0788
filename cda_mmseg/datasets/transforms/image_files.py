"""Read the bytes of an image or label file, and find out what decoders pass over without a word."""

import io
import os
import stat
from typing import NoReturn

import cv2
import mmengine.fileio as fileio
import numpy as np
from PIL import Image

from ..png import SIGNATURE, check_png, chunks, size_of

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
ORIENTATION, UPRIGHT = 0x0112, 1  # EXIF's tag, and its value for a picture that needs no turning
TURNED = 'exif_orientation'  # key of the results
MOST_PIXELS = 178_956_970  # where Pillow, too, takes a file for a decompression bomb
DARK_BITS = 14
READING_ERRORS = (OSError, ValueError, AssertionError, SyntaxError, cv2.error, Image.DecompressionBombError)
"""What loaders and transforms, the stock ones too, raise for files that are damaged or not fit for use."""

KINDS = ((stat.S_ISFIFO, 'FIFO'), (stat.S_ISSOCK, 'socket'), (stat.S_ISDIR, 'folder'), (stat.S_ISREG, ''))


def raise_named(error: Exception, path: str, purpose: str) -> NoReturn:
    """Raise one of ``READING_ERRORS`` again, so that it names the sample.

    Args:
        error (Exception): What a pipeline raised; OpenCV's errors, for instance, know no file.
        path (str): The sample's image.
        purpose (str): What it was read for.

    Raises:
        OSError: The error itself, with a note.
        ValueError: For all others.
    """
    if isinstance(error, OSError | ValueError):
        error.add_note(f'While reading {path} for {purpose}.')
        raise error
    raise ValueError(f'{path} or its label cannot be used for {purpose}: {error}') from error


def read_file(path: str, backend_args: dict | None = None) -> bytes:
    """Read a file, but never wait for one that is none.

    Args:
        path (str): The file, or its address for one of mmengine's file backends.
        backend_args (dict, optional): Arguments of that backend.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a FIFO, a folder or another thing without content of its own.
    """
    if is_local(path, backend_args) and (kind := special_kind(os.stat(path).st_mode)):
        raise ValueError(f'{path}: a {kind}, not a file; replace or remove it')
    return fileio.get(path, backend_args=backend_args)


def is_local(path: str, backend_args: dict | None = None) -> bool:
    """Tell whether a path lies on a file system, not behind another of mmengine's file backends."""
    return '://' not in path and (backend_args or {}).get('backend', 'local') == 'local'


def special_kind(mode: int) -> str:
    """Name what a path is if it is no regular file, '' if it is one."""
    return next((kind for is_kind, kind in KINDS if is_kind(mode)), 'device')


def check_image(path: str, data: bytes, verify: bool = False) -> tuple[int, int] | None:
    """Refuse what OpenCV would decode to other pixels than were saved, or would need too much memory for.

    Args:
        path (str): Name of the file, for errors.
        data (bytes): Its content.
        verify (bool): Whether all checksums of a PNG are compared. OpenCV does so itself, but only after it has
            allocated the size that the header claims; the header is always verified.

    Returns:
        tuple[int, int] | None: Width and height in pixels as stored, None if Pillow does not know the format.

    Raises:
        ValueError: If the file is empty, cut off, damaged, a program or larger than 179 million pixels.
    """
    if not data:
        raise ValueError(f'{path}: empty image file (0 bytes); fetch it again')
    # OpenCV fills what a truncated JPEG lacks with grey. Entropy-coded data never contains a marker, so a whole
    # file has its end after the start of its last scan.
    if data.startswith(JPEG_START) and data.rfind(JPEG_END) < data.rfind(JPEG_SCAN):
        raise ValueError(f'{path}: truncated JPEG image; fetch it again')
    if data.startswith(SIGNATURE):
        check_png(path, data, b'IEND' if verify else b'IHDR')
        size = size_of(data)
    else:
        try:
            with Image.open(io.BytesIO(data)) as header:
                size, kind = header.size, header.format
        except Image.DecompressionBombError as error:
            raise ValueError(f'{path}: {error}') from error
        except Exception:  # a format that only OpenCV knows, or no image: decoding will tell
            return None
        refuse_program(path, kind)
    check_pixels(path, size)
    return size


def refuse_program(path: str, kind: str | None) -> None:
    """Refuse what Pillow does not decode but hands to Ghostscript, which runs it; ``kind`` is Pillow's name for it."""
    if kind == 'EPS':
        raise ValueError(f'{path}: an EPS file, which is a program that draws a picture; save it as a PNG')


def check_pixels(path: str, size: tuple[int, int]) -> None:
    """Refuse a (width, height) that is a claim of a damaged or hostile file rather than a picture."""
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(
            f'{path}: its header claims {size[0]}×{size[1]} pixels, more than {MOST_PIXELS}: a damaged file or a '
            'decompression bomb. Fetch it again, or cut it into tiles'
        )


def decode_image(path: str, data: bytes, bits: int | None = None) -> np.ndarray:
    """Decode an image to three 8-bit channels, upright as its EXIF orientation says.

    Args:
        path (str): Name of the file, for errors.
        data (bytes): Its content.
        bits (int, optional): How many bits of a 16-bit file count, 8..16; by default 16 if the picture uses them.

    Returns:
        np.ndarray: Pixels (H, W, 3), uint8, BGR.

    Raises:
        ValueError: If the file is damaged or no image, its depth is neither 8 nor 16 bits, or its values do not fit
            ``bits``.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ValueError(f'{path}: damaged image file ({error}); fetch it again') from error
    if image is None:
        raise ValueError(f'{path}: damaged, truncated or no image file (OpenCV cannot decode it); fetch it again')
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise ValueError(f'{path}: holds {image.dtype} values; save it with 8 or 16 bits per channel')
    brightest = int(image.max())
    if bits is None and 0 < brightest < 1 << DARK_BITS:
        raise ValueError(
            f'{path}: 16 bits per channel, but no value is above {brightest} ({brightest.bit_length()} bits), so it '
            'would be nearly black. Set the bits that count, such as LoadImage(bits=12) for a 12-bit camera, or '
            'bits=16 if it is this dark; or save it with 8 bits'
        )
    bits = bits or 16
    if brightest >= 1 << bits:
        raise ValueError(f'{path}: holds the value {brightest}, more than the {bits} bits of LoadImage(bits={bits})')
    return (image >> (bits - 8)).astype(np.uint8)


def orientation(data: bytes) -> int:
    """Read an image's EXIF orientation, 1 (upright) to 8; labels know none.

    Args:
        data (bytes): The image file.

    Returns:
        int: The orientation, 1 where none is given.
    """
    if data.startswith(SIGNATURE):
        bodies = [data[begin:end] for name, begin, end in chunks(data) if name == b'eXIf']
        exif = Image.Exif()
        for body in bodies:
            exif.load(body)
        return exif.get(ORIENTATION, UPRIGHT)
    if data.startswith(JPEG_START) and data.find(b'Exif\0\0', 0, data.find(JPEG_SCAN)) < 0:
        return UPRIGHT
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.getexif().get(ORIENTATION, UPRIGHT)
    except Exception:  # what Pillow does not know, OpenCV does not turn
        return UPRIGHT


def refuse_turned(results: dict) -> None:
    """Refuse a pair whose image was turned by its EXIF orientation, as labels never are.

    Args:
        results (dict): Result dict of an mmseg data set, with image and label.

    Raises:
        ValueError: If nothing says whether the label belongs to the image as it is stored or as it is shown.
    """
    if TURNED in results:
        raise ValueError(
            f'{results["img_path"]}: its EXIF orientation is {results[TURNED]}, so it is shown turned, but labels are '
            'not. Save the image upright, without EXIF orientation, so that it lies as its label does'
        )
