"""ClassMix (Olsson et al. 2021): paste half of a labelled image's classes onto another image."""

import torch
from torch import Tensor

LABELS = 256  # as many as a label file of 8 bits can hold, the ignored one among them


def draw_class_mask(labels: Tensor, num_classes: int) -> Tensor:
    """Mark the pixels of half of the classes of each image, rounded up, ignored pixels never.

    Nothing is read from the device, and the draw uses torch's default generator.

    Args:
        labels (Tensor): Labels (N, H, W), int64.
        num_classes (int): Number of classes; greater labels are ignored ones.

    Returns:
        Tensor: Mask (N, H, W), bool.
    """
    masks = []
    for label in labels:
        present = torch.zeros(LABELS, dtype=torch.bool, device=label.device)
        present[label.flatten()] = True
        present[num_classes:] = False
        # Absent classes come last; the first half of the present ones is pasted.
        places = (torch.rand(LABELS, device=label.device) + ~present).argsort().argsort()
        masks.append((present & (2 * places < present.sum()))[label])
    return torch.stack(masks)
