"""Read an image, or say which file is damaged."""

import cv2
import mmcv
import mmengine.fileio as fileio
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Load an image as mmcv's ``LoadImageFromFile`` does, with one clear error for every damaged file.

    The stock transform names no file when the file is empty, and takes a JPEG that breaks off for a whole one with
    a grey rest. Grey, palette, RGBA and 16-bit files become three 8-bit channels.

    Required key: ``img_path``. Added keys: ``img`` (H, W, 3) uint8 in BGR order, ``img_shape``, ``ori_shape``.

    Args:
        backend_args (dict, optional): Arguments of mmengine's file backend.

    Raises:
        FileNotFoundError: While loading, when there is no such file.
        ValueError: While loading, when the file is empty, truncated or no image.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load one image.

        Args:
            results (dict): Result dict of an mmseg data set.

        Returns:
            dict: The same dict with ``img``, ``img_shape`` and ``ori_shape`` set.
        """
        path = results['img_path']
        data = fileio.get(path, backend_args=self.backend_args)
        if not data:
            raise ValueError(f'{path}: empty image file (0 bytes); fetch it again')
        # OpenCV fills what a truncated JPEG lacks with grey. Entropy-coded data never contains a marker, so a whole
        # file has its end after the start of its last scan.
        if data.startswith(JPEG_START) and data.rfind(JPEG_END) < data.rfind(JPEG_SCAN):
            raise ValueError(f'{path}: truncated JPEG image; fetch it again')
        try:
            image = mmcv.imfrombytes(data, flag='color', backend='cv2')
        except cv2.error as error:
            raise ValueError(f'{path}: damaged image file ({error}); fetch it again') from error
        if image is None:
            raise ValueError(f'{path}: damaged, truncated or no image file (OpenCV cannot decode it); fetch it again')
        results['img'] = image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
