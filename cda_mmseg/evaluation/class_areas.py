"""Count, for one image, the pixels that every segmentation score is made of."""

import numpy as np
import torch
from torch import Tensor

INTERSECTION, PREDICTION, GROUND_TRUTH, PREDICTION_EVERYWHERE = range(4)
_TABLES = 4


def class_areas(table: np.ndarray) -> np.ndarray:
    """Add up the areas that scores are made of.

    Args:
        table: Pixel counts as :func:`count_class_table` returns them, or a sum of such.

    Returns:
        Pixel counts, shape (4, num_classes): INTERSECTION (predicted and true), PREDICTION (predicted, among the scored
        pixels), GROUND_TRUTH (true) and PREDICTION_EVERYWHERE (predicted, ignored and unlabeled pixels included).
    """
    scored = table[:-1]
    return np.stack([scored.diagonal(), scored.sum(0), scored.sum(1), table.sum(0)])


def count_class_table(
    prediction: Tensor, ground_truth: Tensor | None, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Count, for each pair of classes, how often one is true and the other predicted, with a single joint histogram.

    The histogram runs over ``ground_truth * num_classes + prediction``, so every pixel is visited once, nothing is
    masked out beforehand, and ids that belong to no class show up as rows that should be empty.

    Args:
        prediction (Tensor): Predicted class ids, shape (H, W) or (1, H, W), any integer dtype, or a floating dtype
            with whole numbers as mmseg's binary heads produce, values in [0, num_classes).
        ground_truth (Tensor | None): True class ids of the same height and width and on the same device, values in
            [0, num_classes) or ``ignore_index``. None for an image without labels.
        num_classes (int): Number of classes.
        ignore_index (int): Ground-truth id of pixels that are not scored, not negative.

    Returns:
        Tensor: int64 pixel counts on the CPU, shape (num_classes + 1, num_classes). Row: true class, column: predicted
        class. The last row counts the pixels that are not scored, ignored or unlabeled.

    Raises:
        ValueError: If the sizes differ, or an id is neither a class nor ``ignore_index``.
    """
    classes = torch.zeros(num_classes + 1, num_classes, dtype=torch.int64)
    if ground_truth is not None and prediction.shape[-2:] != ground_truth.shape[-2:]:
        raise ValueError(
            f'the prediction is {tuple(prediction.shape[-2:])} pixels (height, width), '
            f'the ground truth {tuple(ground_truth.shape[-2:])}'
        )
    if prediction.numel() == 0:
        return classes
    _check_range('predicted class', prediction, num_classes)
    if ground_truth is None:
        classes[-1] = torch.bincount(prediction.reshape(-1).long(), minlength=num_classes).cpu()
        return classes

    num_rows = max(num_classes, ignore_index + 1)
    _check_range('ground-truth id', ground_truth, num_rows)
    # Most of the time goes into moving memory, so the joint index is as narrow as it can be.
    size = num_rows * num_classes
    dtype = torch.int16 if _TABLES * size <= torch.iinfo(torch.int16).max else torch.int64
    joint = torch.add(prediction.to(dtype).flatten(), ground_truth.to(dtype).flatten(), alpha=num_classes)
    # Neighbours are mostly alike, and counting one bin twice in a row waits for memory: they count into tables in turn.
    whole = joint[: len(joint) // _TABLES * _TABLES].view(-1, _TABLES)
    whole += torch.arange(0, _TABLES * size, size, dtype=dtype, device=joint.device)
    tables = torch.bincount(joint, minlength=_TABLES * size)
    table = tables.view(_TABLES, num_rows, num_classes).sum(0).cpu()
    classes[-1] = table[ignore_index]
    table[ignore_index] = 0
    unknown = torch.nonzero(table[num_classes:].sum(dim=1)).flatten() + num_classes
    if len(unknown) > 0:
        raise ValueError(
            f'ground-truth ids {unknown.tolist()} are neither one of the {num_classes} classes '
            f'nor the ignore index {ignore_index}'
        )
    classes[:-1] = table[:num_classes]
    return classes


def _check_range(what: str, ids: Tensor, bound: int) -> None:
    """Raise ValueError unless every id is in [0, bound)."""
    lowest, highest = (int(extreme) for extreme in torch.aminmax(ids))
    if lowest < 0 or highest >= bound:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f'{what} {wrong} is outside [0, {bound})')
