"""Small pictures side by side, in one PNG."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

WIDTH, LINE, GAP = 384, 16, 6


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]], legend: Mapping[str, Sequence[int]] | None = None
) -> Image.Image:
    """Lay out pictures in rows, each below its caption.

    Args:
        rows (Sequence[tuple[str, Sequence[np.ndarray]]]): Caption and pictures, RGB uint8 (H, W, 3), of each row.
        legend (Mapping[str, Sequence[int]], optional): RGB colours to name at the bottom.
    """
    shrunk = [(caption, [_shrink(picture) for picture in pictures]) for caption, pictures in rows]
    width = GAP + max(len(pictures) for _, pictures in shrunk) * (WIDTH + GAP)
    names = list((legend or {}).items())
    per_line = max(1, width // 150)
    height = sum(LINE + max(picture.height for picture in pictures) + GAP for _, pictures in shrunk)
    sheet = Image.new('RGB', (width, GAP + height + LINE * -(-len(names) // per_line)), 'white')
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for caption, pictures in shrunk:
        draw.text((GAP, top), caption[-width // 6 :], fill='black')  # the end of a path tells most
        top += LINE
        for number, picture in enumerate(pictures):
            sheet.paste(picture, (GAP + number * (WIDTH + GAP), top))
        top += max(picture.height for picture in pictures) + GAP
    for number, (name, color) in enumerate(names):
        left, line = GAP + number % per_line * 150, top + number // per_line * LINE
        draw.rectangle((left, line, left + 12, line + 12), fill=tuple(color), outline='black')
        draw.text((left + 18, line), name, fill='black')
    return sheet


def _shrink(picture: np.ndarray) -> Image.Image:
    """Fit a picture to a cell; without interpolation, so that no new class colours arise."""
    image = Image.fromarray(picture)
    return image.resize((WIDTH, max(1, round(image.height * WIDTH / image.width))), Image.Resampling.NEAREST)
