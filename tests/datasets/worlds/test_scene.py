import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cda_mmseg.datasets.worlds.scene import (
    RASTER_SCALE,
    Camera,
    Label,
    Material,
    SceneBuilder,
    bar,
    project,
    rectangle,
)

CAMERA = Camera(width=64, height=48, focal=40.0, center=30.0, horizon=20.0, elevation=1.5)


@given(x=st.floats(-50, 50), y=st.floats(0, 20), z=st.floats(1, 200))
def test_projection_is_a_pinhole(x, y, z):
    column, row = project(CAMERA, np.array([[x, y, z]]), RASTER_SCALE)[0] / 16
    intrinsics = np.array([[40.0, 0, 30.0], [0, 40.0, 20.0], [0, 0, 1]])
    u, v, w = intrinsics @ np.array([x, 1.5 - y, z])
    assert column == pytest.approx(u / w * RASTER_SCALE - 0.5, abs=0.04)
    assert row == pytest.approx(v / w * RASTER_SCALE - 0.5, abs=0.04)


def test_later_polygons_cover_earlier_ones_and_the_rest_is_sky():
    builder = SceneBuilder(CAMERA, random.Random(0))
    builder.front(rectangle(-2, 2, 0, 3), 0.0, 10.0, Material.FACADE, Label.BUILDING)
    builder.front(rectangle(0, 1, 0, 1), 0.0, 9.0, Material.RUBBER, Label.CAR, instance=builder.new_instance())
    scene = builder.finish()
    raster = scene.rasterize()
    assert raster.shape == (96, 128)
    assert set(np.unique(raster)) == {0, 1, 2}

    def label_at(x, y, z):
        column, row = (project(CAMERA, np.array([[x, y, z]]), RASTER_SCALE)[0] / 16).round().astype(int)
        return Label(scene.label[raster[row, column]])

    assert label_at(0.5, 0.5, 9) is Label.CAR
    assert label_at(-1, 0.5, 10) is Label.BUILDING
    assert label_at(0.5, 2, 10) is Label.BUILDING
    assert label_at(3, 2, 10) is Label.SKY
    assert scene.instance.tolist() == [0, 0, 1]


def test_ground_narrows_towards_the_horizon():
    builder = SceneBuilder(CAMERA, random.Random(0))
    builder.ground([(-2, 1), (-2, 200), (2, 200), (2, 1)], Material.ASPHALT, Label.ROAD)
    widths = (builder.finish().rasterize() == 1).sum(axis=1)
    assert widths[: 20 * RASTER_SCALE - 1].max() == 0
    below = widths[21 * RASTER_SCALE :]
    assert (np.diff(below) >= 0).all()
    # At depth z the strip is 4 m · 40 px / z wide; row v sees z = 40 · 1.5 / (v - 20).
    row = 30
    assert widths[row * RASTER_SCALE] == pytest.approx(4 * (row + 0.25 - 20) / 1.5 * RASTER_SCALE, abs=2.5)


def test_what_is_behind_the_near_plane_is_cut_off():
    builder = SceneBuilder(CAMERA, random.Random(0))
    builder.side(rectangle(-30, 20, 0, 3), 2.0, 5.0, Material.FACADE, Label.BUILDING)
    scene = builder.finish()
    assert scene.points[:, 2].min() > 0
    assert (scene.rasterize() == 1).any()


def test_bar_has_the_thickness_asked_for():
    corners = np.array(bar(0.0, 0.0, 3.0, 4.0, 0.5))
    assert np.linalg.norm(corners[0] - corners[3]) == pytest.approx(0.5)
    assert np.linalg.norm(corners[0] - corners[1]) == pytest.approx(5.0)
