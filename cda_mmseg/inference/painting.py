"""Paint class ids, over the picture or alone."""

from collections.abc import Collection, Sequence

import cv2
import numpy as np

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
LEAST_WIDTH = 160
FONT = cv2.FONT_HERSHEY_SIMPLEX


def paint_classes(ids: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Paint class ids (H, W), uint8, in the palette's RGB; the result (H, W, 3) is BGR, without a colour black."""
    table = np.zeros((1, 256, 3), np.uint8)
    table[0, : len(palette)] = np.array(palette)[:, ::-1]
    return cv2.LUT(cv2.cvtColor(ids, cv2.COLOR_GRAY2BGR), table)


def paint_over(image: np.ndarray, colors: np.ndarray, opacity: float) -> np.ndarray:
    """Lay colours (H, W, 3) over a picture, grey (H, W) or (H, W, 3), all uint8."""
    image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    return cv2.addWeighted(colors, opacity, image, 1 - opacity, 0)


def add_legend(
    picture: np.ndarray, occurring: Collection[int], classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """Add a strip with name and colour of the classes that occur below a picture (H, W, 3), BGR.

    A picture narrower than 160 pixels gets a white margin on the right, so that the names can be read.
    """
    height, width = picture.shape[:2]
    margin = max(LEAST_WIDTH - width, 0)
    line = int(np.clip((width + margin) // 48, 14, 40))
    scale = line / 32
    cells, x, y = [], 0, 0
    for index in sorted(occurring):
        cell = line + line // 2 + cv2.getTextSize(classes[index], FONT, scale, 1)[0][0]
        if x and x + cell > width + margin:
            x, y = 0, y + line
        cells.append((index, x, y))
        x += cell
    framed = cv2.copyMakeBorder(picture, 0, y + line, 0, margin, cv2.BORDER_CONSTANT, value=WHITE)
    for index, x, y in cells:
        color = [int(value) for value in palette[index][::-1]]
        corner = (x + line // 5, height + y + line // 5)
        cv2.rectangle(framed, corner, (x + line - line // 5, height + y + line - line // 5), color, cv2.FILLED)
        place = (x + line, height + y + line - line // 3)
        cv2.putText(framed, classes[index], place, FONT, scale, BLACK, 1, cv2.LINE_AA)
    return framed
