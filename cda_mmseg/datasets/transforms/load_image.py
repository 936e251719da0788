"""Read an image, or say which file is damaged."""

from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from .image_files import TURNED, UPRIGHT, check_image, decode_image, orientation, read_file, refuse_turned


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Load an image as mmcv's ``LoadImageFromFile`` does, with one clear error for every damaged file.

    The stock transform names no file when the file is empty, and takes a JPEG that breaks off for a whole one with
    a grey rest. Grey, palette, RGBA and 16-bit files become three 8-bit channels. Images are turned as their EXIF
    orientation says; labels never are, so such an image is refused in a pair.

    Required key: ``img_path``. Added keys: ``img`` (H, W, 3) uint8 in BGR order, ``img_shape``, ``ori_shape``, and
    ``exif_orientation`` of images that were turned.

    Args:
        bits (int, optional): How many bits of 16-bit files count, 8..16, as 12 for a 12-bit camera. By default all 16,
            and files that would come out nearly black are refused.
        backend_args (dict, optional): Arguments of mmengine's file backend.

    Raises:
        FileNotFoundError: While loading, when there is no such file.
        ValueError: While loading, when the file is empty, truncated or no image, has a depth that cannot be told, or
            is turned against its label.
    """

    def __init__(self, bits: int | None = None, backend_args: dict | None = None) -> None:
        if bits is not None and not 8 <= bits <= 16:
            raise ValueError(f'LoadImage: bits must be in 8..16, got {bits!r}')
        self.bits = bits
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load one image."""
        path = results['img_path']
        data = read_file(path, self.backend_args)
        check_image(path, data)
        image = decode_image(path, data, self.bits)
        results['img'] = image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        if (turned := orientation(data)) != UPRIGHT:
            results[TURNED] = turned
            if 'gt_seg_map' in results:
                refuse_turned(results)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(bits={self.bits}, backend_args={self.backend_args})'
