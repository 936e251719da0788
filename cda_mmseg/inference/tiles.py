"""Score pictures that are too large for one forward pass, a band of rows at a time."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

OUTPUT_STRIDE = 32
"""The largest of mmseg's backbones: tiles that begin at its multiples see the cells that the whole picture has."""
ROWS = 64


def tile_starts(length: int, tile: int) -> list[int]:
    """Place tiles along a side, all at multiples of ``OUTPUT_STRIDE`` and at least a quarter over each other.

    The last one reaches to the end, up to ``OUTPUT_STRIDE - 1`` further than ``tile``.
    """
    step = tile - max(tile // 4 // OUTPUT_STRIDE, 1) * OUTPUT_STRIDE
    last = max(length - tile, 0) // OUTPUT_STRIDE * OUTPUT_STRIDE
    return [*range(0, last, step), last]


def tiled_scores(model: EncoderDecoder, item: dict, tile: tuple[int, int]) -> Iterator[Tensor]:
    """Score a picture tile by tile; where tiles lie over each other, their scores are averaged.

    No more than one row of tiles is held at a time.

    Args:
        model: The network.
        item: What the ``test_pipeline`` gives for the picture: ``inputs`` (3, h, w) and ``data_samples``.
        tile: Height and width of a tile, in pixels of ``inputs``.

    Yields:
        Class scores (num_classes, rows, W) of the rows of the picture as it was loaded, from the first to the last.
    """
    bands = _bands(model, item, tile)
    yield from _resized(bands, item['inputs'].shape[1], item['data_samples'].ori_shape, model.align_corners)


def _bands(model: EncoderDecoder, item: dict, tile: tuple[int, int]) -> Iterator[Tensor]:
    """Score (num_classes, rows, w) of the network's input, rows that no later tile adds to."""
    height, width = item['inputs'].shape[1:]
    tops, lefts = (tile_starts(length, side) for length, side in zip((height, width), tile, strict=True))
    rows, columns = (_counts(*sides) for sides in ((tops, tile[0], height), (lefts, tile[1], width)))
    rest = None
    for top, done in zip(tops, [*tops[1:], height], strict=True):
        bottom = height if done == height else top + tile[0]
        band = None
        for left in lefts:
            right = width if left == lefts[-1] else left + tile[1]
            scores = _score(model, item, slice(top, bottom), slice(left, right))
            if band is None:
                band = scores.new_zeros(len(scores), bottom - top, width)
            band[:, :, left:right] += scores
        if rest is not None:
            band[:, : rest.shape[1]] += rest
        rest = band[:, done - top :].clone()
        band = band[:, : done - top]
        band /= (rows[top:done, None] * columns).to(band.device)
        yield band


def _counts(starts: list[int], tile: int, length: int) -> Tensor:
    """Count the tiles over each place of a side."""
    counts = torch.zeros(length)
    for start in starts:
        counts[start : length if start == starts[-1] else start + tile] += 1
    return counts


def _score(model: EncoderDecoder, item: dict, rows: slice, columns: slice) -> Tensor:
    """Score one tile, whose padding is cut off again."""
    inputs = item['inputs'][:, rows, columns]
    sample = item['data_samples'].clone()
    sample.set_metainfo(dict(img_shape=inputs.shape[1:], pad_shape=inputs.shape[1:]))
    data = model.data_preprocessor(dict(inputs=[inputs], data_samples=[sample]), False)
    scores = model.encode_decode(data['inputs'], [sample.metainfo for sample in data['data_samples']])
    return scores[0, :, : inputs.shape[1], : inputs.shape[2]].float()


def _resized(bands: Iterator[Tensor], height: int, size: tuple[int, int], align_corners: bool) -> Iterator[Tensor]:
    """Interpolate bands that follow each other to another size, as ``interpolate`` does with all of them at once."""
    wanted = torch.arange(size[0], dtype=torch.float64)
    if align_corners:
        places = wanted * (height - 1) / max(size[0] - 1, 1)
    else:
        places = ((wanted + 0.5) * height / size[0] - 0.5).clamp(min=0)
    above = places.long()
    below = (above + 1).clamp(max=height - 1)
    weights = (places - above).float()
    first, begin, former = 0, 0, None
    for band in bands:
        end = begin + band.shape[1]
        last = int(torch.searchsorted(below, end))
        for start in range(first, last, ROWS):
            chosen = slice(start, min(start + ROWS, last))
            upper, lower = (_rows(band, rows[chosen] - begin, former) for rows in (above, below))
            lines = torch.lerp(upper, lower, weights[chosen, None].to(band.device))
            shape = (lines.shape[1], size[1])
            yield F.interpolate(lines[None], shape, mode='bilinear', align_corners=align_corners)[0]
        first, begin, former = last, end, band[:, -1:].clone()
        del band  # before the next one is made


def _rows(band: Tensor, places: Tensor, former: Tensor | None) -> Tensor:
    """Take rows of a band, of which -1 is the last one of the band before."""
    taken = band[:, places.clamp(min=0).to(band.device)]
    if former is not None:
        taken[:, (places < 0).to(band.device)] = former
    return taken
