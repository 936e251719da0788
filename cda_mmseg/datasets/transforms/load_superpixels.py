"""Let the superpixels of a picture go through its pipeline."""

import cv2
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from torch.utils.data import Dataset

from ..single import single_data_sets
from ..superpixels import Superpixels


@TRANSFORMS.register_module()
class LoadSuperpixels(BaseTransform):
    """Put a picture's superpixels where labels would be, so that resizing, cropping and flipping treat them alike.

    For the target's pictures, which have no labels, right behind ``LoadImage``; read by the adaptation ``Curriculum``.
    Needs ``pip install 'cda_mmseg[superpixels]'``.

    Required keys: ``img_path``, ``img``. Added keys: ``gt_seg_map`` (H, W) uint8, the number of a pixel's superpixel;
    ``seg_fields`` is extended.

    Args:
        segments (int): About how many per picture, 2 to 200.
        width (int): Width in pixels to which a wider picture is reduced before it is cut.
        compactness (float): SLIC's balance of place against colour.

    Raises:
        ValueError: If a number is out of its range, or, while loading, when labels were loaded before.
    """

    def __init__(self, segments: int = 100, width: int = 512, compactness: float = 10.0) -> None:
        self.superpixels = Superpixels(segments, width, compactness)

    def transform(self, results: dict) -> dict:
        """Add the superpixels of one picture."""
        if 'gt_seg_map' in results:
            raise ValueError('LoadSuperpixels stands in the place of labels: its pipeline must not load any.')
        height, width = results['img'].shape[:2]
        found = self.superpixels.of(results['img_path'])
        results['gt_seg_map'] = cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST)
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.superpixels})'


def superpixels_of(dataset: Dataset) -> Superpixels | None:
    """Tell how the pipeline of a data set, or of the parts of a wrapper, cuts pictures; None if it does not.

    Raises:
        ValueError: If the parts do it in different ways.
    """
    ways = set()
    for _, part in single_data_sets(dataset, ''):
        steps = part.pipeline.transforms
        ways.add(next((step.superpixels for step in steps if isinstance(step, LoadSuperpixels)), None))
    if len(ways) > 1:
        raise ValueError('All parts of a data set must have LoadSuperpixels with the same settings, or none.')
    return ways.pop() if ways else None
