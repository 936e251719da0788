"""Show images beside their ground truth, predictions and reconstruction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mmcv
import numpy as np

from cda_mmseg.visualization.figures import STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_WIDTH = 640
NO_LABEL_COLOR = (0, 0, 0)


@dataclass(frozen=True)
class PanelRow:
    """Hold everything that is shown of one image.

    Attributes:
        domain (str): Domain of the image.
        image (np.ndarray): RGB, uint8, shape (H, W, 3).
        ground_truth (np.ndarray | None): True class ids, shape (H, W); ids outside the classes are shown as unlabeled.
            None for an image without labels.
        predictions (Mapping[str, np.ndarray]): Name of a model → its class ids, shape (H, W).
        reconstruction (np.ndarray | None): The generator's picture, RGB, uint8, shape (h, w, 3).
    """

    domain: str
    image: np.ndarray
    ground_truth: np.ndarray | None
    predictions: Mapping[str, np.ndarray]
    reconstruction: np.ndarray | None


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


def plot_panel(rows: Sequence[PanelRow], classes: Sequence[str], palette: Sequence[Sequence[int]]) -> 'Figure':
    """Lay out images, ground truth, predictions and reconstructions in a grid, with a legend of the classes that occur.

    Args:
        rows (Sequence[PanelRow]): One row each; all with predictions of the same models.
        classes (Sequence[str]): Names of the classes.
        palette (Sequence[Sequence[int]]): RGB colour of each class, as in the meta information of the data set.

    Returns:
        Figure: One axes per cell, row by row. Cells for which there is nothing to show say so.

    Raises:
        ValueError: If there are no rows, or the rows have different models.
        ImportError: If matplotlib is not installed.
    """
    if not rows:
        raise ValueError('a panel needs at least one row')
    models = list(rows[0].predictions)
    for row in rows:
        if list(row.predictions) != models:
            raise ValueError(f'all rows need predictions of {models}, one has {list(row.predictions)}')
    titles = ['image', 'ground truth', *models]
    with_reconstruction = any(row.reconstruction is not None for row in rows)
    if with_reconstruction:
        titles.append('reconstruction')

    cell_width = 1.9
    heights = [cell_width * row.image.shape[0] / row.image.shape[1] for row in rows]
    legend_lines = -(-len(classes) // (len(titles) + 2)) + 1
    figure = new_figure(cell_width * len(titles) + 0.3, sum(heights) + 0.05 * len(rows) + 0.3 + 0.18 * legend_lines)
    # The layout for cells whose aspect is fixed: it closes the gaps between them.
    figure.set_layout_engine('compressed')
    from matplotlib import rc_context
    from matplotlib.patches import Patch

    with rc_context(STYLE):
        grid = figure.subplots(len(rows), len(titles), squeeze=False, height_ratios=heights)
        occurring: set[int] = set()
        for cells, row in zip(grid, rows, strict=True):
            maps = [row.ground_truth, *row.predictions.values()]
            occurring.update(int(index) for ids in maps if ids is not None for index in np.unique(ids))
            pictures = [row.image, *(None if ids is None else color_classes(ids, palette) for ids in maps)]
            if with_reconstruction:
                pictures.append(row.reconstruction)
            for cell, picture, title in zip(cells, pictures, titles, strict=True):
                cell.set(xticks=[], yticks=[])
                cell.grid(False)
                cell.spines[:].set_visible(False)
                if picture is None:
                    cell.text(
                        0.5, 0.5, f'no {title}', transform=cell.transAxes, ha='center', va='center', color='#666666'
                    )
                else:
                    cell.imshow(_shrink(picture), interpolation='nearest')
            cells[0].set_ylabel(row.domain)
        for cell, title in zip(grid[0], titles, strict=True):
            cell.set_title(title, fontsize=9)
        handles = [
            Patch(facecolor=np.array(palette[index]) / 255, edgecolor='#666666', linewidth=0.5, label=classes[index])
            for index in sorted(occurring)
            if 0 <= index < len(classes)
        ]
        if any(not 0 <= index < len(classes) for index in occurring):
            handles.append(Patch(facecolor=np.array(NO_LABEL_COLOR) / 255, label='not labeled'))
        figure.legend(handles=handles, loc='outside lower center', ncols=min(len(handles), len(titles) + 2), fontsize=8)
    return figure


def _shrink(picture: np.ndarray) -> np.ndarray:
    """Reduce a picture to what a cell can show; without interpolation, so that no new class colours arise."""
    height, width = picture.shape[:2]
    if width <= MAX_WIDTH:
        return picture
    return mmcv.imresize(picture, (MAX_WIDTH, round(height * MAX_WIDTH / width)), interpolation='nearest')
