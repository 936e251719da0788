import numpy as np
import pytest
from PIL import Image

from cda_mmseg.visualization.figures import save_figure
from cda_mmseg.visualization.panel import MAX_WIDTH, PanelRow, color_classes, plot_panel

CLASSES = ('road', 'sky', 'bus')
PALETTE = ([10, 20, 30], [40, 50, 60], [70, 80, 90])


def make_row(domain='target', labeled=True, rebuilt=True, size=(4, 6)):
    rng = np.random.default_rng(0)
    return PanelRow(
        domain,
        rng.integers(256, size=(*size, 3), dtype=np.uint8),
        np.where(rng.random(size) < 0.5, 0, 255) if labeled else None,
        {'source only': np.zeros(size, int), 'adapted': np.full(size, 2)},
        rng.integers(256, size=(*size, 3), dtype=np.uint8) if rebuilt else None,
    )


def test_ids_without_a_colour_are_black():
    painted = color_classes(np.array([[0, 2, 255, -2, 3]]), PALETTE)
    assert painted.dtype == np.uint8
    assert painted[0].tolist() == [[10, 20, 30], [70, 80, 90], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_every_cell_shows_what_it_says(tmp_path):
    rows = [make_row(), make_row('source', labeled=False)]
    figure = plot_panel(rows, CLASSES, PALETTE)
    cells = np.array(figure.axes).reshape(2, 5)
    assert [cell.get_title() for cell in cells[0]] == [
        'image', 'ground truth', 'source only', 'adapted', 'reconstruction',
    ]  # fmt: skip
    assert [row[0].get_ylabel() for row in cells] == ['target', 'source']
    for row, line in zip(rows, cells, strict=True):
        expected = [row.image, row.ground_truth, *row.predictions.values(), row.reconstruction]
        for cell, picture in zip(line, expected, strict=True):
            if picture is None:
                assert not cell.images
                assert [text.get_text() for text in cell.texts] == ['no ground truth']
            else:
                shown = picture if picture.ndim == 3 else color_classes(picture, PALETTE)
                np.testing.assert_array_equal(cell.images[0].get_array(), shown)
                assert cell.images[0].get_interpolation() == 'nearest'
    # Only classes that occur are in the legend; sky does not.
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ['road', 'bus', 'not labeled']
    (file,) = save_figure(figure, tmp_path / 'panel', suffixes=['.png'])
    assert {(10, 20, 30), (70, 80, 90)} <= set(map(tuple, np.array(Image.open(file).convert('RGB')).reshape(-1, 3)))


def test_without_a_generator_there_is_no_column_for_it():
    figure = plot_panel([make_row(rebuilt=False)], CLASSES, PALETTE)
    assert [cell.get_title() for cell in figure.axes] == ['image', 'ground truth', 'source only', 'adapted']


def test_large_pictures_shrink_without_new_colours():
    figure = plot_panel([make_row(size=(30, 2 * MAX_WIDTH))], CLASSES, PALETTE)
    shown = figure.axes[1].images[0].get_array()
    assert shown.shape == (15, MAX_WIDTH, 3)
    assert {tuple(color) for color in shown.reshape(-1, 3)} == {(10, 20, 30), (0, 0, 0)}


def test_rows_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match='at least one row'):
        plot_panel([], CLASSES, PALETTE)
    other = PanelRow('target', make_row().image, None, {'other': np.zeros((4, 6), int)}, None)
    with pytest.raises(
        ValueError, match=r"all rows need predictions of \['source only', 'adapted'\], one has \['other'\]"
    ):
        plot_panel([make_row(), other], CLASSES, PALETTE)
