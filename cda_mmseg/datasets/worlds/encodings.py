"""Write pictures and labels in the official folder layouts and encodings of GTAV, SYNTHIA and Cityscapes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from PIL import Image

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
