import random
from dataclasses import replace

import cv2
import numpy as np
import pytest

from cda_mmseg.datasets.worlds.appearances import DASHCAM, GAME, SIMULATOR
from cda_mmseg.datasets.worlds.layout import compose
from cda_mmseg.datasets.worlds.render import render
from cda_mmseg.datasets.worlds.scene import Label, Material
from cda_mmseg.datasets.worlds.statistics import CITY_STREETS

LOOKS = {'game': GAME, 'simulator': SIMULATOR, 'dashcam': DASHCAM}


@pytest.fixture(scope='module')
def street():
    scene = compose(CITY_STREETS, 160, 80, 3, random.Random(7))
    return scene, scene.rasterize()


def picture(street, look, seed=0):
    return render(*street, look, np.random.default_rng(seed))


def saturation(bgr):
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)[:, :, 1].mean()


def roughness(bgr):
    """Mean absolute difference of neighbouring rows."""
    return np.abs(np.diff(bgr.astype(int), axis=0)).mean()


@pytest.mark.parametrize('look', LOOKS)
def test_every_material_has_a_colour(look):
    assert set(LOOKS[look].colors) == set(Material)
    for colors in LOOKS[look].colors.values():
        assert all(len(color) == 3 and min(color) >= 0 and max(color) <= 255 for color in colors)


@pytest.mark.parametrize('look', LOOKS)
def test_pictures_are_well_exposed_and_repeatable(street, look):
    first = picture(street, LOOKS[look])
    assert first.shape == (80, 160, 3)
    assert first.dtype == np.uint8
    assert 40 < first.mean() < 200
    assert np.array_equal(picture(street, LOOKS[look]), first)
    assert not np.array_equal(picture(street, LOOKS[look], seed=1), first)


def test_looks_differ_as_their_names_say(street):
    game, dashcam = picture(street, GAME), picture(street, DASHCAM)
    assert saturation(game) > 1.5 * saturation(dashcam)
    still = replace(DASHCAM, noise=(0.0, 0.0))
    assert roughness(picture(street, GAME)) > roughness(picture(street, still))


def test_noise_has_the_strength_asked_for(street):
    quiet = replace(DASHCAM, noise=(0.0, 0.0), exposure=(0.7, 0.7))
    noisy = replace(quiet, noise=(6.0, 6.0))
    difference = picture(street, noisy).astype(float) - picture(street, quiet)
    assert difference.std() == pytest.approx(6.0, abs=0.4)


def test_haze_drowns_what_is_far(street):
    clear = replace(GAME, haze=(0.0, 0.0), shadow=(0.0, 0.0))
    thick = replace(clear, haze=(0.05, 0.05), haze_color=(200, 200, 200))
    scene, raster = street
    near = np.zeros((80, 160), bool)
    near[-12:] = True
    far = scene.label[raster[1::2, 1::2]] == Label.BUILDING
    change = np.abs(picture(street, thick).astype(int) - picture(street, clear)).mean(axis=2)
    assert change[far].mean() > 3 * change[near].mean()


def test_shadows_fall_on_the_ground_only(street):
    lit, dark = replace(GAME, shadow=(0.0, 0.0), sharpen=0.0), replace(GAME, shadow=(0.9, 0.9), sharpen=0.0)
    scene, raster = street
    ground = scene.plane[raster[1::2, 1::2]] == 1
    change = picture(street, lit).astype(int) - picture(street, dark)
    assert (change[~ground] == 0).all()
    assert change[ground].mean() > 3
    assert change.min() >= 0


def test_markings_wear_off(street):
    scene, raster = street
    marking = scene.material[raster[1::2, 1::2]] == Material.MARKING
    new, worn = replace(GAME, wear=0.0, sharpen=0.0), replace(GAME, wear=0.8, sharpen=0.0)
    change = picture(street, new).astype(int) - picture(street, worn)
    assert change[marking].mean() > 10
    assert (change[~marking] == 0).all()
