import random
from dataclasses import replace

import numpy as np
import pytest

from cda_mmseg.datasets.worlds.layout import WANTED, compose
from cda_mmseg.datasets.worlds.scene import Label
from cda_mmseg.datasets.worlds.statistics import CITY_STREETS, GAME_STREETS, SIMULATOR_STREETS

EMPTY = replace(
    GAME_STREETS,
    plots=(1.0, 0.0, 0.0, 0.0, 0.0),
    track=0.0,
    parking=0.0,
    crossing=0.0,
    **dict.fromkeys(('cars', 'parked', 'trucks', 'buses', 'trains', 'persons', 'riders'), -1.0),
    **dict.fromkeys(('bicycles', 'motorcycles', 'lights', 'signs', 'poles', 'trees'), -1.0),
)


def labels(statistics, index, seed=0):
    scene = compose(statistics, 128, 64, index, random.Random(seed))
    return scene.label[scene.rasterize()]


@pytest.mark.parametrize('index', range(len(WANTED)))
def test_each_scene_shows_the_class_that_is_its_turn(index):
    wanted = Label[WANTED[index].upper()]
    # Even in streets that are empty otherwise; something may stand in front, so not in every single scene.
    shown = [(labels(EMPTY, index, seed) == wanted).sum() > 10 for seed in range(12)]
    assert np.mean(shown) >= 0.75


def test_scenes_follow_their_statistics():
    def share(statistics, label):
        return np.mean([(labels(statistics, index, index) == label).mean() for index in range(26)])

    assert share(CITY_STREETS, Label.EGO_VEHICLE) > 0.01
    assert share(GAME_STREETS, Label.EGO_VEHICLE) == 0
    assert share(CITY_STREETS, Label.CAR) > 1.2 * share(GAME_STREETS, Label.CAR)
    for more, label in (('signs', Label.TRAFFIC_SIGN), ('persons', Label.PERSON), ('trucks', Label.TRUCK)):
        crowded = replace(GAME_STREETS, **{more: 10.0})
        assert share(crowded, label) > 1.5 * share(GAME_STREETS, label)


def test_objects_stand_on_the_ground_in_front_of_the_camera():
    for index in range(20):
        scene = compose(CITY_STREETS, 128, 64, index, random.Random(index))
        assert scene.points[:, 2].min() >= 1.0
        assert np.isfinite(scene.points).all()
        x1, x2, z1, z2, bottom, top = scene.footprints.T
        assert (x1 <= x2).all()
        assert (z1 <= z2).all()
        assert (bottom < top).all()


def test_instances_are_of_one_class():
    """A ridden two-wheeler and its rider, and a sign and its post, are separate objects."""
    for index in range(20):
        scene = compose(SIMULATOR_STREETS, 128, 64, index, random.Random(index))
        for number in np.unique(scene.instance[scene.instance > 0]):
            assert len(np.unique(scene.label[scene.instance == number])) == 1
