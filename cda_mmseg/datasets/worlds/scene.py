"""What a street scene is made of, before anybody decides what it looks like.

A scene is a list of flat polygons in front of a pinhole camera, in painter's order (the last one covers the others).
Each knows its label, the plane it lies in and its material; colours, light and sensor belong to an appearance.

Coordinates in metres: x to the right, y up from the road, z ahead; the camera is at (0, height, 0) and looks along z.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto

import cv2
import numpy as np

NEAR = 1.0
"""Closest distance that is drawn, in metres."""

RASTER_SCALE = 2
"""Scenes are rasterised at this multiple of the picture's size; labels take one of these pixels, images may average."""

_SUBPIXEL_BITS = 4
_FURTHEST_PIXEL = 1 << 20  # keeps fixed-point coordinates inside 32 bits


class Plane(IntEnum):
    """Orientation of a polygon; it gives every pixel its place in the world."""

    SKY = 0
    GROUND = auto()  # y = 0
    SIDE = auto()  # x = offset, along the road
    FRONT = auto()  # z = offset, facing the camera


class Material(IntEnum):
    """What a surface is made of; an appearance gives each a set of colours and a texture."""

    SKY = 0
    ASPHALT = auto()
    MARKING = auto()
    PAVING = auto()
    PARKING = auto()
    GRASS = auto()
    BALLAST = auto()
    RAIL = auto()
    FACADE = auto()
    SHOPFRONT = auto()
    ROOF = auto()
    DISTANT = auto()
    MASONRY = auto()
    BARS = auto()
    METAL = auto()
    FOLIAGE = auto()
    BARK = auto()
    CAR_PAINT = auto()
    TRUCK_PAINT = auto()
    CARGO = auto()
    BUS_PAINT = auto()
    TRAIN_PAINT = auto()
    BAND = auto()
    GLASS = auto()
    RUBBER = auto()
    PLATE = auto()
    JACKET = auto()
    TROUSERS = auto()
    SKIN = auto()
    HAIR = auto()
    HELMET = auto()
    FRAME = auto()
    SPOKES = auto()
    LAMP_RED = auto()
    LAMP_AMBER = auto()
    LAMP_GREEN = auto()
    LAMP_WHITE = auto()
    LAMP_OFF = auto()
    LIGHT_BOX = auto()
    SIGN_RED = auto()
    SIGN_BLUE = auto()
    SIGN_YELLOW = auto()
    SIGN_WHITE = auto()
    HOOD = auto()
    BIN = auto()


class Label(IntEnum):
    """Cityscapes label ids that scenes contain."""

    EGO_VEHICLE = 1
    STATIC = 4
    ROAD = 7
    SIDEWALK = 8
    PARKING = 9
    RAIL_TRACK = 10
    BUILDING = 11
    WALL = 12
    FENCE = 13
    POLE = 17
    TRAFFIC_LIGHT = 19
    TRAFFIC_SIGN = 20
    VEGETATION = 21
    TERRAIN = 22
    SKY = 23
    PERSON = 24
    RIDER = 25
    CAR = 26
    TRUCK = 27
    BUS = 28
    TRAIN = 31
    MOTORCYCLE = 32
    BICYCLE = 33


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above the road.

    Attributes:
        width (int): Width of the picture in pixels.
        height (int): Height of the picture in pixels.
        focal (float): Focal length in pixels.
        center (float): Column of the vanishing point of the road.
        horizon (float): Row of the horizon.
        elevation (float): Height above the road in metres.
    """

    width: int
    height: int
    focal: float
    center: float
    horizon: float
    elevation: float


@dataclass(frozen=True)
class Scene:
    """A finished scene of S polygons. Polygon 0 is the sky.

    Attributes:
        camera (Camera): The camera.
        points (np.ndarray): Corners of all polygons (P, 3), metres.
        starts (np.ndarray): Index of the first corner of each polygon, and P at the end (S + 1,).
        plane (np.ndarray): :class:`Plane` of each polygon (S,).
        offset (np.ndarray): x or z of the plane in metres (S,).
        material (np.ndarray): :class:`Material` of each polygon (S,).
        label (np.ndarray): :class:`Label` of each polygon (S,), uint8.
        instance (np.ndarray): Number of the object that a polygon belongs to, 0 for none (S,), uint16.
        tone (np.ndarray): Choice among the material's colours, in [0, 1) (S,).
        light (np.ndarray): Factor on the brightness (S,).
        period (np.ndarray): Width and height of a repeated element (window, bar) in metres (S, 2).
        footprints (np.ndarray): Boxes that cast shadows: x1, x2, z1, z2, bottom, top in metres (F, 6).
    """

    camera: Camera
    points: np.ndarray
    starts: np.ndarray
    plane: np.ndarray
    offset: np.ndarray
    material: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    tone: np.ndarray
    light: np.ndarray
    period: np.ndarray
    footprints: np.ndarray

    def rasterize(self) -> np.ndarray:
        """Find the polygon that each pixel shows.

        Returns:
            np.ndarray: Polygon numbers (height·RASTER_SCALE, width·RASTER_SCALE), uint16.
        """
        camera = self.camera
        raster = np.zeros((camera.height * RASTER_SCALE, camera.width * RASTER_SCALE), np.uint16)
        pixels = project(camera, self.points, RASTER_SCALE)
        starts = self.starts.tolist()
        for index in range(1, len(starts) - 1):
            polygon = pixels[starts[index] : starts[index + 1]]
            cv2.fillPoly(raster, [polygon], index, lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
        return raster


def project(camera: Camera, points: np.ndarray, scale: int) -> np.ndarray:
    """Project points to pixels.

    Args:
        points (np.ndarray): Points (P, 3) in metres with z > 0.
        scale (int): Multiple of the picture's size.

    Returns:
        np.ndarray: Columns and rows (P, 2), int32, with ``_SUBPIXEL_BITS`` fractional bits.
    """
    ratio = camera.focal / points[:, 2]
    pixels = np.empty((len(points), 2), np.float64)
    pixels[:, 0] = camera.center + ratio * points[:, 0]
    pixels[:, 1] = camera.horizon + ratio * (camera.elevation - points[:, 1])
    # OpenCV's fixed point counts from the centre of a pixel.
    pixels = (pixels * scale - 0.5) * (1 << _SUBPIXEL_BITS)
    return np.clip(np.rint(pixels), -_FURTHEST_PIXEL, _FURTHEST_PIXEL).astype(np.int32)


@dataclass
class SceneBuilder:
    """Collects the polygons of a scene.

    Attributes:
        camera (Camera): The camera.
        random (random.Random): Source of every choice.
    """

    camera: Camera
    random: random.Random
    _points: list[tuple[float, float, float]] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _rows: list[tuple] = field(default_factory=list)
    _footprints: list[tuple] = field(default_factory=list)
    _instances: int = 0

    def __post_init__(self) -> None:
        self.polygon([], Plane.SKY, 0.0, Material.SKY, Label.SKY)

    def new_instance(self) -> int:
        """Count one more object.

        Returns:
            int: Its number, from 1.
        """
        self._instances += 1
        return self._instances

    def polygon(
        self,
        points: Sequence[tuple[float, float, float]],
        plane: Plane,
        offset: float,
        material: Material,
        label: Label,
        *,
        tone: float = 0.5,
        instance: int = 0,
        light: float = 1.0,
        period: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Add a polygon in front of all others.

        Args:
            points (Sequence[tuple[float, float, float]]): Corners (x, y, z) in metres.
            plane (Plane): Orientation.
            offset (float): x of a SIDE, z of a FRONT plane, in metres.
            material (Material): What it is made of.
            label (Label): Its class.
            tone (float): Choice among the material's colours, in [0, 1).
            instance (int): Number of its object, 0 for none.
            light (float): Factor on the brightness.
            period (tuple[float, float]): Width and height of a repeated element in metres.
        """
        self._starts.append(len(self._points))
        self._points.extend(points)
        self._rows.append((plane, offset, material, label, instance, tone, light, *period))

    def ground(
        self,
        points: Sequence[tuple[float, float]],
        material: Material,
        label: Label,
        *,
        tone: float = 0.5,
    ) -> None:
        """Add a polygon that lies on the ground, corners (x, z)."""
        self.polygon([(x, 0.0, z) for x, z in points], Plane.GROUND, 0.0, material, label, tone=tone)

    def side(
        self,
        points: Sequence[tuple[float, float]],
        x: float,
        z: float,
        material: Material,
        label: Label,
        *,
        tone: float = 0.5,
        instance: int = 0,
        light: float = 1.0,
        period: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Add a polygon in the plane at ``x``, corners (distance beyond ``z``, y), cut off at the near plane."""
        corners = [(x, y, max(z + ahead, NEAR)) for ahead, y in points]
        self.polygon(corners, Plane.SIDE, x, material, label, tone=tone, instance=instance, light=light, period=period)

    def front(
        self,
        points: Sequence[tuple[float, float]],
        x: float,
        z: float,
        material: Material,
        label: Label,
        *,
        tone: float = 0.5,
        instance: int = 0,
        light: float = 1.0,
        period: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Add a polygon in the plane at ``z``, corners (distance right of ``x``, y)."""
        corners = [(x + right, y, z) for right, y in points]
        self.polygon(corners, Plane.FRONT, z, material, label, tone=tone, instance=instance, light=light, period=period)

    def footprint(self, x1: float, x2: float, z1: float, z2: float, top: float, bottom: float = 0.0) -> None:
        """Note a box that casts a shadow."""
        self._footprints.append((x1, x2, max(z1, NEAR), max(z2, NEAR), bottom, top))

    def finish(self) -> Scene:
        """Turn what was collected into arrays.

        Returns:
            Scene: The scene.
        """
        rows = np.array(self._rows, np.float64)
        return Scene(
            camera=self.camera,
            points=np.array(self._points, np.float64),
            starts=np.array([*self._starts, len(self._points)], np.int64),
            plane=rows[:, 0].astype(np.uint8),
            offset=rows[:, 1].astype(np.float32),
            material=rows[:, 2].astype(np.uint8),
            label=rows[:, 3].astype(np.uint8),
            instance=rows[:, 4].astype(np.uint16),
            tone=rows[:, 5].astype(np.float32),
            light=rows[:, 6].astype(np.float32),
            period=rows[:, 7:9].astype(np.float32),
            footprints=np.array(self._footprints, np.float64).reshape(-1, 6),
        )


def rectangle(x1: float, x2: float, y1: float, y2: float) -> list[tuple[float, float]]:
    """Give the corners of an upright rectangle."""
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def bar(x1: float, y1: float, x2: float, y2: float, thickness: float) -> list[tuple[float, float]]:
    """Give the corners of a bar from one point to another."""
    length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1e-6)
    dx, dy = -(y2 - y1) / length * thickness / 2, (x2 - x1) / length * thickness / 2
    return [(x1 + dx, y1 + dy), (x2 + dx, y2 + dy), (x2 - dx, y2 - dy), (x1 - dx, y1 - dy)]


_CIRCLE = [(float(np.cos(angle)), float(np.sin(angle))) for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False)]


def disc(x: float, y: float, radius: float, squash: float = 1.0) -> list[tuple[float, float]]:
    """Give the corners of a disc, narrowed by ``squash`` when it is seen at an angle."""
    return [(x + radius * squash * cosine, y + radius * sine) for cosine, sine in _CIRCLE]
