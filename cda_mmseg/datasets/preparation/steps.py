"""The part of a training pipeline whose result a prepared copy keeps: reading and resizing."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from mmseg.registry import TRANSFORMS

IMAGE_LOADERS = ('LoadImage', 'LoadImageFromFile')
LABEL_LOADERS = ('LoadAnnotations', 'LoadLabelIds')
LOADERS = (*IMAGE_LOADERS, *LABEL_LOADERS, 'TagDomain')
RESIZE = 'Resize'


def kept_steps(pipeline: Sequence[Mapping], labels: bool) -> list[dict]:
    """Cut a training pipeline after its ``Resize``, or after its loaders if it has none.

    Args:
        pipeline (Sequence[Mapping]): Configs of the transforms.
        labels (bool): Whether label loaders are among the steps.

    Returns:
        list[dict]: Configs of the steps; their result depends on the files alone.

    Raises:
        ValueError: If something random or unknown stands before the resize, if the resize is no function of a fixed
            size, or if no image is loaded.
    """
    types = [step['type'] for step in pipeline]
    end = 0
    while end < len(types) and types[end] in LOADERS:
        end += 1
    if RESIZE in types:
        if types.index(RESIZE) != end:
            raise ValueError(
                f'{types[end]} stands before Resize in the pipeline; only a pipeline that loads and then resizes to a '
                f'fixed size can be prepared ({", ".join(LOADERS)})'
            )
        resize = pipeline[end]
        if resize.get('scale') is None:
            raise ValueError(
                'Resize has no scale: a copy that is resized by a factor would be resized once more in training; give '
                'it scale=(width, height)'
            )
        end += 1
        late = [kind for kind in types[end:] if kind in LABEL_LOADERS]
        if late and labels:
            raise ValueError(f'{late[0]} stands after Resize, as in evaluation; prepare training pipelines only')
    if not any(kind in IMAGE_LOADERS for kind in types[:end]):
        raise ValueError(f'the pipeline does not begin with an image loader ({" or ".join(IMAGE_LOADERS)})')
    return [dict(step) for step in pipeline[:end] if labels or step['type'] not in LABEL_LOADERS]


def build_steps(steps: Sequence[Mapping]) -> list[Callable]:
    """Build transforms in the scope of mmseg.

    Args:
        steps (Sequence[Mapping]): Their configs.

    Returns:
        list[Callable]: The transforms.
    """
    return [TRANSFORMS.build(dict(step)) for step in steps]


def load(transforms: Sequence[Callable], info: Mapping) -> tuple[np.ndarray, np.ndarray | None]:
    """Read and resize one pair.

    Args:
        transforms (Sequence[Callable]): What :func:`build_steps` made.
        info (Mapping): Entry of an mmseg data set.

    Returns:
        tuple[np.ndarray, np.ndarray | None]: Image (H, W, 3), and labels (H, W) if they are loaded.
    """
    results = dict(info, seg_fields=[])
    for transform in transforms:
        results = transform(results)
    return results['img'], results.get('gt_seg_map')
