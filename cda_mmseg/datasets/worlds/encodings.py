"""Write pictures and labels in the official folder layouts and encodings of the data sets that configs read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from PIL import Image

from ..label_ids import CITYSCAPES_IDS, IGNORE
from .scene import Label, Material

GTAV_PALETTE = ((0, 0, 0),) * 4 + (
    (20, 20, 20),  # 4 static
    (111, 74, 0),
    (81, 0, 81),
    (128, 64, 128),  # 7 road
    (244, 35, 232),
    (250, 170, 160),
    (230, 150, 140),
    (70, 70, 70),  # 11 building
    (102, 102, 156),
    (190, 153, 153),
    (180, 165, 180),
    (150, 100, 100),
    (150, 120, 90),
    (153, 153, 153),  # 17 pole
    (153, 153, 153),
    (250, 170, 30),
    (220, 220, 0),
    (107, 142, 35),  # 21 vegetation
    (152, 251, 152),
    (70, 130, 180),
    (220, 20, 60),
    (255, 0, 0),
    (0, 0, 142),  # 26 car
    (0, 0, 70),
    (0, 60, 100),
    (0, 0, 90),
    (0, 0, 110),
    (0, 80, 100),  # 31 train
    (0, 0, 230),
    (119, 11, 32),
    (0, 0, 142),  # 34 licence plate
)
"""Colours (RGB) of GTAV's label palette by label id 0..34; those of Cityscapes, but for id 4."""

SYNTHIA_LANE_MARKING = 22

SYNTHIA_IDS = MappingProxyType(
    {
        Label.EGO_VEHICLE: 0,
        Label.STATIC: 0,
        Label.ROAD: 3,
        Label.SIDEWALK: 4,
        Label.PARKING: 13,
        Label.RAIL_TRACK: 0,
        Label.BUILDING: 2,
        Label.WALL: 21,
        Label.FENCE: 5,
        Label.POLE: 7,
        Label.TRAFFIC_LIGHT: 15,
        Label.TRAFFIC_SIGN: 9,
        Label.VEGETATION: 6,
        Label.TERRAIN: 16,
        Label.SKY: 1,
        Label.PERSON: 10,
        Label.RIDER: 17,
        Label.CAR: 8,
        Label.TRUCK: 18,
        Label.BUS: 19,
        Label.TRAIN: 20,
        Label.MOTORCYCLE: 12,
        Label.BICYCLE: 11,
    }
)
"""SYNTHIA's id of each label that scenes contain."""

TRAIN_IDS = MappingProxyType({label: CITYSCAPES_IDS[label] for label in Label})
URBANSYN_IDS = MappingProxyType({label: 19 if number == IGNORE else number for label, number in TRAIN_IDS.items()})

LOVEDA_IDS = MappingProxyType(
    {
        **dict.fromkeys(Label, 1),  # background
        Label.EGO_VEHICLE: 0,  # no data
        Label.BUILDING: 2,
        Label.ROAD: 3,
        Label.SKY: 4,  # water
        Label.SIDEWALK: 5,  # barren
        Label.VEGETATION: 6,  # forest
        Label.TERRAIN: 7,  # agricultural
    }
)
"""A number of LoveDA for each label: streets in its folders, to try configs with."""


@dataclass(frozen=True)
class Labels:
    """What a scene shows, pixel by pixel.

    Attributes:
        ids (np.ndarray): Cityscapes label ids (height, width), uint8.
        instances (np.ndarray): Number of the object, 0 for none (height, width), uint16.
        materials (np.ndarray): :class:`Material` (height, width), uint8.
    """

    ids: np.ndarray
    instances: np.ndarray
    materials: np.ndarray


def gtav_paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    """Name the files of a GTAV pair; GTAV has one folder for all splits."""
    name = f'{index + 1:05d}.png'
    return root / 'images' / name, root / 'labels' / name


def synthia_paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    """Name the files of a SYNTHIA-RAND-CITYSCAPES pair; SYNTHIA has one folder for all splits."""
    name = f'{index:07d}.png'
    return root / 'RAND_CITYSCAPES' / 'RGB' / name, root / 'RAND_CITYSCAPES' / 'GT' / 'LABELS' / name


CITIES = MappingProxyType({'train': ('altstadt', 'bergheim', 'neudorf'), 'val': ('seefeld', 'talbach')})
"""Invented cities of each split."""


def cityscapes_paths(root: Path, split: str, index: int) -> tuple[Path, Path | None]:
    """Name the files of a Cityscapes pair; training pictures have no label file, because they are never labeled."""
    city = CITIES[split][index % len(CITIES[split])]
    stem = f'{city}_{index:06d}_000019'
    picture = root / 'leftImg8bit' / split / city / f'{stem}_leftImg8bit.png'
    if split == 'train':
        return picture, None
    return picture, root / 'gtFine' / split / city / f'{stem}_gtFine_labelIds.png'


def labeled_cityscapes_paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    """Name the files of a Cityscapes pair where it is the source."""
    picture, _ = cityscapes_paths(root, split, index)
    stem = picture.name.removesuffix('_leftImg8bit.png')
    return picture, root / 'gtFine' / split / picture.parent.name / f'{stem}_gtFine_labelIds.png'


def urbansyn_paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    """Name the files of an UrbanSyn pair; UrbanSyn has one folder for all splits."""
    return root / 'rgb' / f'rgb_{index + 1:04d}.png', root / 'ss' / f'ss_{index + 1:04d}.png'


def dark_zurich_paths(root: Path, split: str, index: int) -> tuple[Path, Path | None]:
    """Name the files of a Dark Zurich pair at night; training pictures have no labels."""
    sequence = dict(train='GOPR0345', val='GOPR0356')[split]
    place = Path(split, 'night', sequence)
    stem = f'{sequence}_frame_{index + 1:06d}'
    label = None if split == 'train' else root / 'gt' / place / f'{stem}_gt_labelTrainIds.png'
    return root / 'rgb_anon' / place / f'{stem}_rgb_anon.png', label


def acdc_paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    """Name the files of an ACDC pair, the four conditions in turn."""
    place = Path(('fog', 'night', 'rain', 'snow')[index % 4], split, 'GP010122')
    stem = f'GP010122_frame_{index + 1:06d}'
    return root / 'rgb_anon' / place / f'{stem}_rgb_anon.png', root / 'gt' / place / f'{stem}_gt_labelTrainIds.png'


def loveda_paths(region: str, root: Path, split: str, index: int) -> tuple[Path, Path]:
    """Name the files of a LoveDA pair of one region."""
    place = root / split.capitalize() / region
    return place / 'images_png' / f'{index}.png', place / 'masks_png' / f'{index}.png'


def write_gtav_label(path: Path, labels: Labels) -> None:
    """Write a palette PNG whose index is the label id."""
    image = Image.fromarray(labels.ids)
    image.putpalette([channel for color in GTAV_PALETTE for channel in color])
    image.save(path, compress_level=3)


def write_synthia_label(path: Path, labels: Labels) -> None:
    """Write a 16-bit RGB PNG: class in red, instance in green."""
    table = np.zeros(256, np.uint16)
    for label, number in SYNTHIA_IDS.items():
        table[label] = number
    pixels = np.zeros((*labels.ids.shape, 3), np.uint16)  # OpenCV's order: blue, green, red
    pixels[:, :, 2] = table[labels.ids]
    pixels[labels.materials == Material.MARKING, 2] = SYNTHIA_LANE_MARKING
    pixels[:, :, 1] = labels.instances
    _write_with_opencv(path, pixels)


def write_cityscapes_label(path: Path, labels: Labels) -> None:
    """Write an 8-bit grey PNG of label ids."""
    _write_with_opencv(path, labels.ids)


def write_numbers(numbers: Mapping[Label, int], path: Path, labels: Labels) -> None:
    """Write an 8-bit grey PNG with a number for each label."""
    table = np.zeros(256, np.uint8)
    for label, number in numbers.items():
        table[label] = number
    _write_with_opencv(path, table[labels.ids])


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a colour PNG (height, width, 3), uint8, BGR."""
    _write_with_opencv(path, picture)


def _write_with_opencv(path: Path, pixels: np.ndarray) -> None:
    encoded, data = cv2.imencode('.png', pixels)
    if not encoded:
        raise OSError(f'{path}: OpenCV cannot encode the picture')
    path.write_bytes(data)


@dataclass(frozen=True)
class Layout:
    """An official folder layout.

    Attributes:
        folder (str): Folder of the data set inside a world.
        splits (tuple[str, ...]): Its splits.
        paths (Callable): (root, split, index) → image path, label path or None.
        write_label (Callable): (path, labels) → None.
    """

    folder: str
    splits: tuple[str, ...]
    paths: Callable[[Path, str, int], tuple[Path, Path | None]]
    write_label: Callable[[Path, Labels], None]


GTAV = Layout('gtav', ('train',), gtav_paths, write_gtav_label)
SYNTHIA = Layout('synthia', ('train',), synthia_paths, write_synthia_label)
CITYSCAPES = Layout('cityscapes', ('train', 'val'), cityscapes_paths, write_cityscapes_label)
LABELED_CITYSCAPES = Layout('cityscapes', ('train', 'val'), labeled_cityscapes_paths, write_cityscapes_label)
URBANSYN = Layout('urbansyn', ('train',), urbansyn_paths, partial(write_numbers, URBANSYN_IDS))
DARK_ZURICH = Layout('dark_zurich', ('train', 'val'), dark_zurich_paths, partial(write_numbers, TRAIN_IDS))
ACDC = Layout('acdc', ('train', 'val'), acdc_paths, partial(write_numbers, TRAIN_IDS))
RURAL, URBAN = (
    Layout('loveda', ('train', 'val'), partial(loveda_paths, region), partial(write_numbers, LOVEDA_IDS))
    for region in ('Rural', 'Urban')
)
