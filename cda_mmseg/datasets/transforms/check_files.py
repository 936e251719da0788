"""Check what mmseg's own loaders and colour operations are given, before they misread it or break."""

import io

from mmcv.transforms import BaseTransform, LoadImageFromFile, RandomGrayscale
from mmseg.datasets.transforms import LoadAnnotations, PhotoMetricDistortion, RGB2Gray
from PIL import Image

from ..png import SIGNATURE, size_of
from .image_files import (
    TURNED,
    UPRIGHT,
    check_image,
    check_pixels,
    decode_image,
    orientation,
    read_file,
    refuse_program,
    refuse_turned,
)
from .load_label_ids import check_label

EIGHT_BITS = ('color', 'grayscale')  # mmcv's flags for 8 bits, turned by EXIF
INDEX_MODES = ('1', 'L', 'P')
DEPTH_AND_COLOR, BLACK_AND_WHITE = slice(24, 26), bytes([1, 0])
COLOUR_OPERATIONS = (PhotoMetricDistortion, RandomGrayscale, RGB2Gray)
TIFF_STARTS = (b'II*\0', b'MM\0*')


class CheckImageFile(BaseTransform):
    """Refuse images that ``LoadImageFromFile`` would read to other pixels than were saved.

    It takes a truncated JPEG for a whole one, and shows 12 bits of 16 as black. Added key: ``exif_orientation`` of
    images that it will turn.

    Args:
        loader (LoadImageFromFile): The loader.

    Raises:
        FileNotFoundError: While checking, when there is no such file.
        ValueError: While checking, when it is damaged or would be misread.
    """

    def __init__(self, loader: LoadImageFromFile) -> None:
        self.loader = loader

    def transform(self, results: dict) -> dict:
        """Check the image file of a sample."""
        path = results['img_path']
        data = read_file(path, self.loader.backend_args)
        size = check_image(path, data, verify=self.loader.imdecode_backend != 'cv2')
        if self.loader.color_type in EIGHT_BITS:
            if (turned := orientation(data)) != UPRIGHT:
                results[TURNED] = turned
            is_deep = data.startswith(SIGNATURE) and data[DEPTH_AND_COLOR][0] == 16
            if is_deep or size is None or data.startswith(TIFF_STARTS):
                try:
                    decode_image(path, data)
                except ValueError as error:
                    raise ValueError(f'{error}. LoadImageFromFile has no such choice: use LoadImage') from error
        return results


class CheckLabelFile(BaseTransform):
    """Refuse labels that ``LoadAnnotations`` would read to other classes than were saved.

    It ignores the checksums of PNGs, cuts 16-bit values to 8 bits, and does not compare sizes with the image.

    Args:
        loader (LoadAnnotations): The loader.

    Raises:
        FileNotFoundError: While checking, when there is no such file.
        ValueError: While checking, when it is damaged, would be misread, or does not fit its image.
    """

    def __init__(self, loader: LoadAnnotations) -> None:
        self.loader = loader

    def transform(self, results: dict) -> dict:
        """Check the label file of a sample, against its image too if that was loaded."""
        path = results['seg_map_path']
        width, height = self._check(path)
        if TURNED in results:
            refuse_turned(results)
        if tuple(results.get('ori_shape', (height, width))[:2]) != (height, width):
            raise ValueError(
                f'{path}: the label is {width}×{height} but its image '
                f'{results["ori_shape"][1]}×{results["ori_shape"][0]} (width × height)'
            )
        return results

    def _check(self, path: str) -> tuple[int, int]:
        """Check a file for itself; give its width and height."""
        data = read_file(path, self.loader.backend_args)
        if data.startswith(SIGNATURE):
            check_label(path, data, 'index', also=BLACK_AND_WHITE)
            return size_of(data)
        if not data:
            raise ValueError(f'{path}: empty label file (0 bytes); fetch it again')
        try:
            with Image.open(io.BytesIO(data)) as header:
                size, mode, kind = header.size, header.mode, header.format
        except Exception as error:
            raise ValueError(f'{path}: damaged label file ({error}); fetch it again') from error
        refuse_program(path, kind)
        check_pixels(path, size)
        if kind == 'JPEG' or mode not in INDEX_MODES:
            raise ValueError(
                f'{path}: a {kind} with pixels of kind {mode!r}, which does not hold classes 0..255 exactly; save the '
                'classes as a grey or palette PNG of 8 bits'
            )
        return size


class CheckColours(BaseTransform):
    """Refuse images without three channels before an operation on colours.

    Args:
        operation (BaseTransform): The operation.

    Raises:
        ValueError: While checking, when the image is not of shape (H, W, 3).
    """

    def __init__(self, operation: BaseTransform) -> None:
        self.operation = operation

    def transform(self, results: dict) -> dict:
        """Check the image of a sample."""
        shape = results['img'].shape
        if shape[2:] != (3,):
            raise ValueError(
                f'{results["img_path"]}: {type(self.operation).__name__} changes colours, and this image has '
                f'{shape[2] if len(shape) == 3 else 1} channels, not 3. Take it out of the pipeline'
            )
        return results


def checked(steps: list) -> list:
    """Put a check before every stock loader and colour operation; our own loaders check for themselves.

    Args:
        steps (list): Transforms.

    Returns:
        list: The same, with those checks that are not there yet.
    """
    result = []
    for step in steps:
        before = result[-1] if result else None
        # Exactly these: what a subclass reads, and how, is its own affair.
        if type(step) is LoadImageFromFile and not isinstance(before, CheckImageFile):
            result.append(CheckImageFile(step))
        elif type(step) is LoadAnnotations and not isinstance(before, CheckLabelFile):
            result.append(CheckLabelFile(step))
        elif isinstance(step, COLOUR_OPERATIONS) and not isinstance(before, CheckColours):
            result.append(CheckColours(step))
        result.append(step)
    return result
