"""Class ids as colours."""

from collections.abc import Sequence

import numpy as np

NO_LABEL_COLOR = (0, 0, 0)


def color_classes(ids: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Paint class ids.

    Args:
        ids (np.ndarray): Class ids, integer, shape (H, W).
        palette (Sequence[Sequence[int]]): RGB colour of each class.

    Returns:
        np.ndarray: RGB, uint8, shape (H, W, 3); ids without a colour are black.
    """
    table = np.array([*palette, NO_LABEL_COLOR], dtype=np.uint8)
    known = (ids >= 0) & (ids < len(palette))
    return table[np.where(known, ids, len(palette))]
