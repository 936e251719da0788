"""Read pictures as a config's ``test_pipeline`` does, and go on after those that cannot be read."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmseg.registry import TRANSFORMS
from torch.utils.data import Dataset

from cda_mmseg.datasets.pipelines import LABEL_LOADERS
from cda_mmseg.datasets.transforms import LoadImage, TagDomain
from cda_mmseg.datasets.transforms.check_files import checked
from cda_mmseg.datasets.transforms.image_files import READING_ERRORS
from cda_mmseg.inference.pictures import Picture


class PictureReader(Dataset):
    """The pictures as the network takes them.

    An item is ``(input, image)``: what the pipeline gives, and the picture (H, W, 3) uint8 BGR as it was loaded or
    None; or, for a picture that cannot be read, ``(message, None)``.

    Args:
        pictures: The pictures.
        config: Config with a ``test_pipeline``; what loads labels in it is left out.
        keeps_images: Whether the pictures are wanted as they were loaded.

    Raises:
        ValueError: If the config has no ``test_pipeline`` that loads an image.
    """

    def __init__(self, pictures: Sequence[Picture], config: Config, keeps_images: bool) -> None:
        self.pictures, self.keeps_images = pictures, keeps_images
        steps = [TRANSFORMS.build(step) for step in config.get('test_pipeline', ())]
        self.steps = checked([step for step in steps if not isinstance(step, (*LABEL_LOADERS, TagDomain))])
        loaders = [place for place, step in enumerate(self.steps) if isinstance(step, LoadImage | LoadImageFromFile)]
        if not loaders:
            raise ValueError('The config has no test_pipeline that loads an image, so it does not say how to read one.')
        self.loaded = loaders[-1] + 1

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[dict | str, np.ndarray | None]:
        """Read one picture."""
        results = {'img_path': self.pictures[index].path}
        try:
            for step in self.steps[: self.loaded]:
                results = step(results)
            image = results['img'].copy() if self.keeps_images else None
            return self._prepare(results), image
        except READING_ERRORS as error:
            return str(error), None

    def prepare_frame(self, frame: np.ndarray, path: str) -> dict:
        """Prepare a frame (H, W, 3) uint8 BGR of a video as a picture that was loaded."""
        return self._prepare(dict(img_path=path, img=frame, img_shape=frame.shape[:2], ori_shape=frame.shape[:2]))

    def _prepare(self, results: dict) -> dict:
        for step in self.steps[self.loaded :]:
            results = step(results)
        return results
