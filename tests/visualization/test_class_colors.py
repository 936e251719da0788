import numpy as np

from cda_mmseg.visualization.class_colors import color_classes

PALETTE = ([10, 20, 30], [40, 50, 60], [70, 80, 90])


def test_ids_without_a_colour_are_black():
    painted = color_classes(np.array([[0, 2, 255, -2, 3]]), PALETTE)
    assert painted.dtype == np.uint8
    assert painted[0].tolist() == [[10, 20, 30], [70, 80, 90], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
