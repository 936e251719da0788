"""Label schemes of the data sets: raw label id → one of the 19 Cityscapes trainIds, 255 where none applies.

Every id that a scheme defines is listed, so that an id that is not here can be reported as a damaged or foreign file.
"""

from types import MappingProxyType

IGNORE = 255

_CITYSCAPES_TRAIN_IDS = {
    7: 0,  # road
    8: 1,  # sidewalk
    11: 2,  # building
    12: 3,  # wall
    13: 4,  # fence
    17: 5,  # pole
    19: 6,  # traffic light
    20: 7,  # traffic sign
    21: 8,  # vegetation
    22: 9,  # terrain
    23: 10,  # sky
    24: 11,  # person
    25: 12,  # rider
    26: 13,  # car
    27: 14,  # truck
    28: 15,  # bus
    31: 16,  # train
    32: 17,  # motorcycle
    33: 18,  # bicycle
}

_SYNTHIA_TRAIN_IDS = {
    3: 0,  # road
    4: 1,  # sidewalk
    2: 2,  # building
    21: 3,  # wall
    5: 4,  # fence
    7: 5,  # pole
    15: 6,  # traffic light
    9: 7,  # traffic sign
    6: 8,  # vegetation
    16: 9,  # terrain
    1: 10,  # sky
    10: 11,  # person (SYNTHIA: pedestrian)
    17: 12,  # rider
    8: 13,  # car
    18: 14,  # truck
    19: 15,  # bus
    20: 16,  # train
    12: 17,  # motorcycle
    11: 18,  # bicycle
}

CITYSCAPES_IDS = MappingProxyType({**dict.fromkeys([*range(35), IGNORE], IGNORE), **_CITYSCAPES_TRAIN_IDS})
"""Cityscapes and GTAV. Ids 0..33 are Cityscapes' own; the licence plate is -1 there, which 8 bits hold as 255, and 34
in GTAV."""

SYNTHIA_IDS = MappingProxyType({**dict.fromkeys(range(23), IGNORE), **_SYNTHIA_TRAIN_IDS})
"""SYNTHIA-RAND-CITYSCAPES, ids 0..22; void 0, parking 13, road work 14 and lane marking 22 are no training class."""

TRAIN_IDS = MappingProxyType({**{train_id: train_id for train_id in range(19)}, IGNORE: IGNORE})
"""Labels that hold the 19 trainIds already, such as ``*_labelTrainIds.png``."""

URBANSYN_IDS = MappingProxyType({**TRAIN_IDS, 19: IGNORE})
"""UrbanSyn: the 19 trainIds, and 19 for what is unlabeled."""

ID_MAPS = MappingProxyType(
    {'cityscapes': CITYSCAPES_IDS, 'synthia': SYNTHIA_IDS, 'train_ids': TRAIN_IDS, 'urbansyn': URBANSYN_IDS}
)
"""The schemes by the name that a config uses."""
