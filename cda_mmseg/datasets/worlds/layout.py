"""Compose street scenes: where the road runs, what lines it and who is on it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from . import objects
from .scene import NEAR, Camera, Label, Material, Plane, Scene, SceneBuilder, rectangle

Range = tuple[float, float]

FAR = 230.0
"""Where the street ends, in metres."""

WANTED = (
    'train',
    'traffic_light',
    'rider',
    'truck',
    'wall',
    'motorcycle',
    'traffic_sign',
    'bus',
    'bicycle',
    'fence',
    'person',
    'pole',
    'terrain',
)
"""Scene i contains at least the (i mod 13)-th of these in full view, so that no class is missing in 50 scenes."""


@dataclass(frozen=True)
class SceneStatistics:
    """How often and where things occur. Ranges are uniform; numbers per scene vary by a half around their mean.

    Attributes:
        elevation (Range): Camera height in metres.
        focal (Range): Focal length relative to the width of the picture.
        horizon (Range): Row of the horizon relative to the height of the picture.
        yaw (Range): Column of the vanishing point relative to the width of the picture.
        curvature (Range): Curvature of the road in 1/m.
        lanes (tuple[int, ...]): Numbers of lanes to choose from.
        sidewalk (Range): Width of the sidewalks in metres.
        setback (Range): Distance of the houses from the sidewalk in metres.
        storeys (tuple[int, int]): Fewest and most floors of a house.
        plots (tuple[float, ...]): Weights of house, wall, fence, hedge and open ground along the street.
        track (float): Probability of a tram track.
        parking (float): Probability of a parking strip.
        crossing (float): Probability of a zebra crossing.
        hood (float): Probability that the own bonnet is in the picture.
        cars (float): Mean number of moving cars.
        parked (float): Mean number of cars per parking strip or kerb.
        trucks (float): Mean number of trucks.
        buses (float): Mean number of buses.
        trains (float): Probability of a tram on a track.
        persons (float): Mean number of pedestrians.
        riders (float): Mean number of riders (on bicycles and motorcycles).
        bicycles (float): Mean number of parked bicycles.
        motorcycles (float): Mean number of parked motorcycles.
        lights (float): Mean number of traffic lights.
        signs (float): Mean number of traffic signs.
        poles (float): Mean number of poles and lamps.
        trees (float): Mean number of trees along the street.
    """

    elevation: Range
    focal: Range
    horizon: Range
    yaw: Range
    curvature: Range
    lanes: tuple[int, ...]
    sidewalk: Range
    setback: Range
    storeys: tuple[int, int]
    plots: tuple[float, float, float, float, float]
    track: float
    parking: float
    crossing: float
    hood: float
    cars: float
    parked: float
    trucks: float
    buses: float
    trains: float
    persons: float
    riders: float
    bicycles: float
    motorcycles: float
    lights: float
    signs: float
    poles: float
    trees: float


@dataclass(frozen=True)
class _Street:
    """Cross-section of the street; distances from its middle in metres, left and right."""

    half: float
    lanes: int
    lane: float
    camera: float
    curvature: float
    track: int  # -1 left, 1 right, 0 none
    parking: tuple[float, float]  # width of the strips
    kerb: tuple[float, float]
    line: tuple[float, float]
    frontage: tuple[float, float]

    def x(self, lateral: float, z: float) -> float:
        """Place a distance from the middle of the street relative to the camera."""
        return lateral - self.camera + self.curvature * z * z / 2


TRACK_WIDTH = 3.4
PARKING_WIDTH = 2.3
LANE_WIDTH = 3.3


def compose(statistics: SceneStatistics, width: int, height: int, index: int, choice: random.Random) -> Scene:
    """Compose the scene of one picture.

    Args:
        statistics (SceneStatistics): How often and where things occur.
        width (int): Width of the picture in pixels.
        height (int): Height of the picture in pixels.
        index (int): Number of the scene in its split; chooses the class that is in full view.
        choice (random.Random): Source of every choice.

    Returns:
        Scene: The scene.
    """
    wanted = WANTED[index % len(WANTED)]
    camera = Camera(
        width=width,
        height=height,
        focal=choice.uniform(*statistics.focal) * width,
        center=choice.uniform(*statistics.yaw) * width,
        horizon=choice.uniform(*statistics.horizon) * height,
        elevation=choice.uniform(*statistics.elevation),
    )
    builder = SceneBuilder(camera, choice)
    street = _street(statistics, wanted, choice)
    _backdrop(builder)
    green = _ground(builder, street, statistics, wanted)
    for side in (-1, 1):
        _frontage(builder, street, side, statistics, wanted, green)
    for z, add in sorted(_placements(builder, street, statistics, wanted), key=lambda item: -item[0]):
        add(z)
    if choice.random() < statistics.hood:
        _hood(builder)
    return builder.finish()


def _about(choice: random.Random, mean: float) -> int:
    """Draw a number around its mean."""
    return int(mean * choice.uniform(0.5, 1.5) + choice.random())


def _street(statistics: SceneStatistics, wanted: str, choice: random.Random) -> _Street:
    lanes = choice.choice(statistics.lanes)
    half = lanes * LANE_WIDTH / 2
    own = choice.randrange(lanes // 2, lanes)
    track = choice.choice((-1, 1)) if choice.random() < statistics.track or wanted == 'train' else 0
    parking = tuple(PARKING_WIDTH if choice.random() < statistics.parking else 0.0 for _ in range(2))
    kerb = tuple(
        half + strip + (TRACK_WIDTH if track == side else 0.0) for side, strip in zip((-1, 1), parking, strict=True)
    )
    line = tuple(edge + choice.uniform(*statistics.sidewalk) for edge in kerb)
    frontage = tuple(edge + choice.uniform(*statistics.setback) for edge in line)
    return _Street(
        half=half,
        lanes=lanes,
        lane=LANE_WIDTH,
        camera=(own + 0.5) * LANE_WIDTH - half + choice.uniform(-0.5, 0.5),
        curvature=choice.uniform(*statistics.curvature),
        track=track,
        parking=parking,
        kerb=kerb,
        line=line,
        frontage=frontage,
    )


def _backdrop(builder: SceneBuilder) -> None:
    """Close the end of the street with distant houses and trees."""
    choice = builder.random
    right = -260.0
    while right < 260.0:
        width, tone = choice.uniform(15.0, 40.0), choice.random()
        if choice.random() < 0.55:
            house = rectangle(0.0, width, -2.0, choice.uniform(8.0, 26.0))
            builder.front(house, right, FAR + 30, Material.DISTANT, Label.BUILDING, tone=tone)
        else:
            top = choice.uniform(7.0, 14.0)
            crowns = [(0.0, -2.0), (width, -2.0), (width, top * 0.8), (width * 0.7, top), (width * 0.5, top * 0.85)]
            crowns += [(width * 0.25, top * 1.05), (0.0, top * 0.75)]
            builder.front(crowns, right, FAR + 25, Material.FOLIAGE, Label.VEGETATION, tone=tone, light=0.8)
        right += width * choice.uniform(0.8, 1.05)


_STRIP = (NEAR, 1.7, 2.5, 4.0, 6.0, 9.0, 14.0, 21.0, 32.0, 48.0, 72.0, 108.0, 160.0, FAR)


def _strip(builder: SceneBuilder, street: _Street, left: float, right: float, material: Material, label: Label) -> None:
    """Add a strip of ground that follows the road."""
    points = [(street.x(left, z), z) for z in _STRIP]
    points += [(street.x(right, z), z) for z in reversed(_STRIP)]
    builder.ground(points, material, label)


def _ground(builder: SceneBuilder, street: _Street, statistics: SceneStatistics, wanted: str) -> tuple[bool, bool]:
    """Lay the ground, from the outside in. Returns on which sides the ground beyond the sidewalk is green."""
    choice = builder.random
    wide = 400.0
    builder.ground([(-wide, NEAR), (-wide, FAR + 30), (wide, FAR + 30), (wide, NEAR)], Material.PAVING, Label.SIDEWALK)
    green = tuple(choice.random() < 0.5 or wanted == 'terrain' for _ in range(2))
    for side, is_green in zip((-1, 1), green, strict=True):
        if is_green:
            edge = street.line[side > 0] * side
            _strip(builder, street, min(edge, wide * side), max(edge, wide * side), Material.GRASS, Label.TERRAIN)
    if wanted == 'terrain' or choice.random() < 0.25:  # a green verge between kerb and sidewalk
        for side in (-1, 1):
            edge = street.kerb[side > 0] * side
            inner, outer = sorted((edge, edge + 1.1 * side))
            _strip(builder, street, inner, outer, Material.GRASS, Label.TERRAIN)
    for side in (-1, 1):
        edge = street.half * side
        if street.track == side:
            outer = edge + TRACK_WIDTH * side
            _strip(builder, street, min(edge, outer), max(edge, outer), Material.BALLAST, Label.RAIL_TRACK)
            middle = edge + TRACK_WIDTH / 2 * side
            for rail in (-0.75, 0.75):
                _strip(builder, street, middle + rail - 0.07, middle + rail + 0.07, Material.RAIL, Label.RAIL_TRACK)
            edge = outer
        strip = street.parking[side > 0]
        if strip:
            outer = edge + strip * side
            _strip(builder, street, min(edge, outer), max(edge, outer), Material.PARKING, Label.PARKING)
    _strip(builder, street, -street.half, street.half, Material.ASPHALT, Label.ROAD)
    for side in (-1, 1):
        edge = (street.half - 0.25) * side
        _strip(builder, street, edge - 0.07, edge + 0.07, Material.MARKING, Label.ROAD)
    phase = choice.uniform(0.0, 9.0)
    for boundary in range(1, street.lanes):
        lateral = boundary * street.lane - street.half
        for dash in range(8):
            start = NEAR + phase + 9.0 * dash
            ends = ((start, -0.09), (start + 4.0, -0.09), (start + 4.0, 0.09), (start, 0.09))
            points = [(street.x(lateral + right, z), z) for z, right in ends]
            builder.ground(points, Material.MARKING, Label.ROAD)
    if choice.random() < statistics.crossing:
        start = choice.uniform(7.0, 16.0)
        lateral = -street.half + 0.4
        while lateral < street.half - 0.5:
            ends = ((start, 0.0), (start + 3.0, 0.0), (start + 3.0, 0.55), (start, 0.55))
            points = [(street.x(lateral + right, z), z) for z, right in ends]
            builder.ground(points, Material.MARKING, Label.ROAD)
            lateral += 1.1
    return green


def _frontage(
    builder: SceneBuilder,
    street: _Street,
    side: int,
    statistics: SceneStatistics,
    wanted: str,
    green: tuple[bool, bool],
) -> None:
    """Line one side of the street with plots, the furthest first."""
    choice = builder.random
    kinds = ('house', 'wall', 'fence', 'hedge', 'open')
    plots = []
    z = choice.uniform(-12.0, 1.0)
    while z < FAR - 10:
        length = choice.uniform(9.0, 22.0)
        kind = choice.choices(kinds, statistics.plots)[0]
        if wanted in ('wall', 'fence') and z < 12.0 < z + length:
            kind = wanted
        plots.append((kind, z, min(length, FAR - z)))
        z += length
    for kind, z, length in reversed(plots):
        if z + length < 2 * NEAR:
            continue
        start = max(z, NEAR)
        lateral = street.frontage[side > 0] * side
        x = street.x(lateral, z + length / 2)
        if kind == 'house':
            _house(builder, x, side, start, z + length - start, statistics)
            continue
        if choice.random() < 0.6 and start > 6:
            back = street.x(lateral + 12 * side, z + length / 2)
            _house(builder, back, side, start + 1, length - 2, statistics)
        trees = _about(choice, 1.6)
        for _ in range(trees):
            far = start + choice.uniform(0.2, 1.0) * (z + length - start)
            if far > 6:
                away = choice.uniform(2.5, 7.0) * side
                objects.tree(builder, street.x(lateral + away, far), far, choice.uniform(1.6, 3.0))
        if kind == 'open':
            continue
        end = z + length - 0.4
        if kind == 'hedge':
            _hedge(builder, x, start, end - start)
        else:
            _barrier(builder, kind, x, side, start, end - start)


def _house(builder: SceneBuilder, x: float, side: int, z: float, length: float, statistics: SceneStatistics) -> None:
    choice = builder.random
    floors = choice.randint(*statistics.storeys)
    storey, tone = choice.uniform(2.9, 3.4), choice.random()
    height = floors * storey
    depth = 11.0 * side
    period = (choice.uniform(2.0, 3.4), storey)
    look = dict(label=Label.BUILDING, tone=tone)
    pitched = choice.random() < 0.6
    builder.footprint(min(x, x + depth), max(x, x + depth), z, z + length, height)
    # Facing the camera; from a street's view only the part on the near side of the plot shows.
    if pitched:
        gable = [(0.0, height), (depth, height), (depth / 2, height + 2.8)]
        builder.front(gable, x, z, Material.FACADE, period=(40.0, 40.0), light=0.92, **look)
        builder.side(
            [(0, height), (length, height), (length, height + 2.2), (0.3, height + 2.2)], x, z, Material.ROOF, **look
        )
    builder.front(rectangle(0.0, depth, 0.0, height), x, z, Material.FACADE, period=period, light=0.92, **look)
    builder.side(rectangle(0.0, length, 0.0, height), x, z, Material.FACADE, period=period, **look)
    if choice.random() < 0.4:
        shop = choice.random()
        front = rectangle(0.0, length, 0.0, storey)
        builder.side(front, x, z, Material.SHOPFRONT, Label.BUILDING, tone=shop, period=(period[0] * 1.3, storey))


def _barrier(builder: SceneBuilder, kind: str, x: float, side: int, z: float, length: float) -> None:
    choice = builder.random
    tone = choice.random()
    if kind == 'wall':
        height = choice.uniform(1.9, 2.9)
        surface = dict(material=Material.MASONRY, label=Label.WALL, tone=tone, period=(0.55, 0.27))
    else:
        height = choice.uniform(1.5, 2.2)
        surface = dict(material=Material.BARS, label=Label.FENCE, tone=tone, period=(choice.uniform(0.3, 0.42), height))
    builder.footprint(min(x, x + 0.2 * side), max(x, x + 0.2 * side), z, z + length, height)
    builder.side(rectangle(0.0, length, 0.0, height), x, z, **surface)
    builder.front(rectangle(0.0, 9.0 * side, 0.0, height), x, z, light=0.92, **surface)


def _hedge(builder: SceneBuilder, x: float, z: float, length: float) -> None:
    choice = builder.random
    tone, height = choice.random(), choice.uniform(1.2, 2.6)
    bumps = [(length * (1 - step / 8), height * choice.uniform(0.85, 1.1)) for step in range(9)]
    outline = [(0.0, 0.0), (length, 0.0), *bumps]
    builder.footprint(x - 0.5, x + 0.5, z, z + length, height)
    builder.side(outline, x, z, Material.FOLIAGE, Label.VEGETATION, tone=tone, light=0.9)


def _hood(builder: SceneBuilder) -> None:
    """Show the bonnet of the own car at the bottom of the picture."""
    camera, choice = builder.camera, builder.random
    reach = choice.uniform(0.05, 0.09)
    outline = ((-0.02, 1.0), (0.08, 0.45), (0.25, 0.12), (0.5, 0.0), (0.75, 0.12), (0.92, 0.45), (1.02, 1.0))
    points = []
    for across, down in outline:
        column = across * camera.width
        row = camera.height * (1.0 - reach * (1.0 - down) + 0.01)
        points.append(
            (
                (column - camera.center) / camera.focal * NEAR,
                camera.elevation - (row - camera.horizon) / camera.focal * NEAR,
                NEAR,
            )
        )
    builder.polygon(points, Plane.FRONT, NEAR, Material.HOOD, Label.EGO_VEHICLE, tone=choice.random())


Placement = tuple[float, Callable[[float], None]]


def _placements(builder: SceneBuilder, street: _Street, statistics: SceneStatistics, wanted: str) -> list[Placement]:
    """Decide what stands where on the road and the sidewalks."""
    choice = builder.random
    placed: list[Placement] = []
    occupied: dict[object, list[tuple[float, float]]] = {}

    def claim(lane: object, low: float, high: float, length: float) -> float | None:
        """Find a free stretch of a lane."""
        taken = occupied.setdefault(lane, [])
        for _ in range(6):
            # Perspective crowds what is far: draw evenly in 1/z, as the eye sees it.
            z = 1.0 / choice.uniform(1.0 / high, 1.0 / low)
            if all(z + length < first or last < z for first, last in taken):
                taken.append((z - 1.5, z + length + 1.5))
                return z
        return None

    def put(
        lane: object,
        lateral: float,
        low: float,
        high: float,
        length: float,
        add: Callable[[float, float], None],
    ) -> None:
        z = claim(lane, low, high, length)
        if z is not None:
            placed.append((z, lambda z: add(street.x(lateral, z), z)))

    def vehicle(add: Callable[..., None], count: int, low: float, high: float, length: float) -> None:
        for _ in range(count):
            number = choice.randrange(street.lanes)
            lateral = (number + 0.5) * street.lane - street.half
            away = lateral > 0
            nearest = low + (3.0 if abs(lateral - street.camera) < 1.8 else 0.0)
            lateral += choice.uniform(-0.3, 0.3)
            put(number, lateral, nearest, high, length, lambda x, z, away=away: add(builder, x, z, away))

    if street.track and (wanted == 'train' or choice.random() < statistics.trains):
        lateral = (street.half + TRACK_WIDTH / 2) * street.track
        low, high = (8.0, 16.0) if wanted == 'train' else (8.0, 40.0)
        put('track', lateral, low, high, 30.0, lambda x, z: objects.train(builder, x, z))
    for name, add, mean, length in (
        ('bus', objects.bus, statistics.buses, 12.0),
        ('truck', objects.truck, statistics.trucks, 9.0),
    ):
        if wanted == name:
            vehicle(add, 1, 8.0, 15.0, length)
        vehicle(add, _about(choice, mean), 9.0, 50.0, length)
    vehicle(objects.car, _about(choice, statistics.cars), 6.0, 70.0, 5.0)
    for side in (-1, 1):
        strip = street.parking[side > 0]
        edge = street.kerb[side > 0] * side
        if strip:
            for _ in range(_about(choice, statistics.parked)):
                lateral = edge - strip / 2 * side
                away = choice.random() < 0.7 if side > 0 else choice.random() < 0.3
                add_car = lambda x, z, away=away: objects.car(builder, x, z, away)  # noqa: E731
                put(('parking', side), lateral, 4.5, 45.0, 5.0, add_car)

    def beside(low: float, high: float) -> tuple[object, float]:
        """Choose a place on a sidewalk, between two fractions of its width."""
        side = choice.choice((-1, 1))
        first, last = street.kerb[side > 0], street.line[side > 0]
        fraction = choice.uniform(low, high)
        return (side, round(fraction * 2)), side * (first + 0.3 + fraction * (last - first - 0.6))

    slope = builder.camera.focal / (0.42 * builder.camera.width)

    def stand(add: Callable[..., None], count: int, low: float, high: float, band: Range, *arguments: object) -> None:
        """Put things on the sidewalks, far enough ahead to be in the picture."""
        for _ in range(count):
            lane, lateral = beside(*band)
            nearest = max(low, abs(lateral - street.camera) * slope)
            put(lane, lateral, nearest, max(high, nearest + 2), 0.8, lambda x, z: add(builder, x, z, *arguments))

    for name, add, mean, far in (
        ('traffic_light', objects.traffic_light, statistics.lights, 20.0),
        ('traffic_sign', objects.traffic_sign, statistics.signs, 19.0),
    ):
        if wanted == name:
            stand(add, 2, 6.5, 12.0, (0.0, 0.1))
        stand(add, _about(choice, mean), 7.0, far, (0.0, 0.15))
    if wanted == 'pole':
        stand(objects.plain_pole, 2, 5.5, 10.0, (0.0, 0.1))
    poles = _about(choice, statistics.poles)
    stand(objects.plain_pole, poles - poles // 2, 5.0, 24.0, (0.0, 0.2))
    stand(objects.lamp_post, poles // 2, 6.0, 28.0, (0.0, 0.15))
    if wanted == 'person':
        stand(objects.person, 2, 5.0, 9.0, (0.2, 1.0))
    persons = _about(choice, statistics.persons)
    stand(objects.person, persons - persons // 4, 5.0, 22.0, (0.1, 1.0))
    for _ in range(persons // 4):  # crossing the road
        lateral = choice.uniform(-street.half, street.half)
        put('crossing', lateral, 8.0, 20.0, 0.8, lambda x, z: objects.person(builder, x, z))
    for name, add, mean in (
        ('bicycle', objects.bicycle, statistics.bicycles),
        ('motorcycle', objects.motorcycle, statistics.motorcycles),
    ):
        if wanted == name:
            stand(add, 2, 5.0, 9.0, (0.2, 0.9), False)
        stand(add, _about(choice, mean), 4.5, 16.0, (0.1, 1.0), False)
    riders = _about(choice, statistics.riders)
    for number in range(riders + (2 if wanted == 'rider' else 0)):
        low, high = (5.0, 9.0) if number >= riders else (5.5, 17.0)
        add = objects.bicycle if choice.random() < 0.6 else objects.motorcycle
        side = choice.choice((-1, 1))
        lateral = side * (street.half - choice.uniform(0.4, 1.6))
        put(('rider', side), lateral, low, high, 2.0, lambda x, z, add=add: add(builder, x, z, True))
    for _ in range(_about(choice, statistics.trees)):
        size = choice.uniform(1.4, 2.6)
        lane, lateral = beside(0.05, 0.3)
        put(lane, lateral, 9.0, 70.0, 2.0, lambda x, z, size=size: objects.tree(builder, x, z, size))
    stand(objects.bush, _about(choice, 1.0), 6.0, 40.0, (0.9, 1.1), choice.uniform(0.6, 1.1))
    stand(objects.bin_box, _about(choice, 0.7), 6.0, 25.0, (0.2, 1.0))
    return placed
