"""The things that stand and move in a street. Sizes in metres."""

import random

from .scene import Label, Material, SceneBuilder, bar, disc, rectangle

Polygon = list[tuple[float, float]]


def _blobs(count: int, corners: int) -> list[Polygon]:
    """Draw outlines of foliage with radius about 1."""
    choice = random.Random(20180918)
    unit = disc(0.0, 0.0, 1.0)
    outlines = []
    for _ in range(count):
        outline = []
        for index in range(corners):
            x, y = unit[index * len(unit) // corners]
            radius = choice.uniform(0.78, 1.15)
            outline.append((x * radius, y * radius))
        outlines.append(outline)
    return outlines


_BLOBS = _blobs(24, 12)


def _facing_side(x1: float, x2: float) -> float | None:
    """Tell which side of a box the camera sees, None when it stands in front of it."""
    if x1 > 0:
        return x1
    return x2 if x2 < 0 else None


def car(builder: SceneBuilder, x: float, z: float, away: bool) -> None:
    """Add a car, seen from behind when it drives ``away``."""
    choice = builder.random
    van = choice.random() < 0.25
    width, height, length = choice.uniform(1.75, 1.95), choice.uniform(1.42, 1.58), choice.uniform(3.9, 4.7)
    if van:
        height += 0.35
    waist = 0.62 * height
    tone, instance = choice.random(), builder.new_instance()
    look = dict(label=Label.CAR, instance=instance)
    x1, x2 = x - width / 2, x + width / 2
    builder.footprint(x1, x2, z, z + length, height)
    if builder.camera.elevation > height:
        roof = [(x1 + 0.2, height, z + 0.8), (x2 - 0.2, height, z + 0.8)]
        roof += [(x2 - 0.2, height, z + length * 0.7), (x1 + 0.2, height, z + length * 0.7)]
        builder.polygon(roof, 3, z + 1, Material.CAR_PAINT, tone=tone, light=1.15, **look)
        bonnet = [(x1, waist, z), (x2, waist, z), (x2, waist, z + length), (x1, waist, z + length)]
        builder.polygon(bonnet, 3, z + 1, Material.CAR_PAINT, tone=tone, light=1.05, **look)
    side = _facing_side(x1, x2)
    if side is not None:
        near, far = (0.04, 0.72 if van else 0.62) if away else (0.3 if not van else 0.18, 0.94)
        cabin = [(near * length, waist), ((near + 0.1) * length, height), ((far - 0.12) * length, height)]
        cabin.append((far * length, waist))
        builder.side(rectangle(0, length, 0.22, waist), side, z, Material.CAR_PAINT, tone=tone, light=0.9, **look)
        builder.side(cabin, side, z, Material.CAR_PAINT, tone=tone, light=0.9, **look)
        glass = [((near + 0.05) * length, waist), ((near + 0.13) * length, height - 0.1)]
        glass += [((far - 0.15) * length, height - 0.1), ((far - 0.05) * length, waist)]
        builder.side(glass, side, z, Material.GLASS, light=0.9, **look)
        for position in (0.2, 0.8):
            builder.side(disc(position * length, 0.32, 0.33), side, z, Material.RUBBER, **look)
            builder.side(disc(position * length, 0.32, 0.17), side, z, Material.SPOKES, **look)
    half = width / 2
    for edge in (-half, half - 0.28):
        builder.front(rectangle(edge, edge + 0.28, 0.0, 0.5), x, z, Material.RUBBER, **look)
    body = [(-half, 0.25), (half, 0.25), (half, 0.8), (half * 0.94, waist), (-half * 0.94, waist), (-half, 0.8)]
    narrow = 0.9 if van else 0.78
    cabin = [(-half * 0.94, waist), (half * 0.94, waist), (half * narrow, height), (-half * narrow, height)]
    builder.front(cabin, x, z, Material.CAR_PAINT, tone=tone, light=0.95, **look)
    glass = [(-half * 0.84, waist + 0.03), (half * 0.84, waist + 0.03)]
    glass += [(half * (narrow - 0.08), height - 0.1), (-half * (narrow - 0.08), height - 0.1)]
    builder.front(glass, x, z, Material.GLASS, **look)
    builder.front(body, x, z, Material.CAR_PAINT, tone=tone, light=0.92, **look)
    if z < 45:
        builder.front(rectangle(-half, half, 0.25, 0.42), x, z, Material.RUBBER, **look)
        builder.front(rectangle(-0.27, 0.27, 0.48, 0.6), x, z, Material.PLATE, **look)
        lamp = Material.LAMP_RED if away else Material.LAMP_WHITE
        for edge in (-half + 0.04, half - 0.38):
            builder.front(rectangle(edge, edge + 0.34, 0.6, 0.78), x, z, lamp, **look)


def truck(builder: SceneBuilder, x: float, z: float, away: bool) -> None:
    """Add a lorry with a cab and a box."""
    choice = builder.random
    width, height, length = 2.5, choice.uniform(3.3, 3.8), choice.uniform(7.0, 10.0)
    cab_height, cab_length, floor = 2.7, 2.2, 0.95
    cab, box, instance = choice.random(), choice.random(), builder.new_instance()
    look = dict(label=Label.TRUCK, instance=instance)
    x1, x2, half = x - width / 2, x + width / 2, width / 2
    builder.footprint(x1, x2, z, z + length, height)
    box_start, box_end = (0.0, length - cab_length - 0.4) if away else (cab_length + 0.4, length)
    cab_start = length - cab_length if away else 0.0
    side = _facing_side(x1, x2)
    if side is not None:
        cab_side = rectangle(cab_start, cab_start + cab_length, 0.45, cab_height)
        builder.side(rectangle(0, length, 0.55, floor), side, z, Material.RUBBER, **look)
        builder.side(cab_side, side, z, Material.TRUCK_PAINT, tone=cab, light=0.9, **look)
        window = rectangle(cab_start + 0.5, cab_start + cab_length - 0.4, 1.6, 2.4)
        builder.side(window, side, z, Material.GLASS, **look)
        cargo = rectangle(box_start, box_end, floor, height)
        builder.side(cargo, side, z, Material.CARGO, tone=box, light=0.9, **look)
        for position in (cab_start + cab_length / 2, box_start + 1.2, box_end - 1.3):
            builder.side(disc(position, 0.5, 0.5), side, z, Material.RUBBER, **look)
            builder.side(disc(position, 0.5, 0.22), side, z, Material.SPOKES, **look)
    if away:
        builder.front(rectangle(-half, half, 0.45, floor), x, z, Material.RUBBER, **look)
        for edge in (-half + 0.1, half - 0.65):
            builder.front(rectangle(edge, edge + 0.55, 0.0, 0.9), x, z, Material.RUBBER, **look)
        builder.front(rectangle(-half, half, floor, height), x, z, Material.CARGO, tone=box, light=0.95, **look)
        builder.front(rectangle(-0.04, 0.04, floor + 0.1, height - 0.1), x, z, Material.RUBBER, **look)
        for edge in (-half + 0.08, half - 0.48):
            builder.front(rectangle(edge, edge + 0.4, 0.62, 0.85), x, z, Material.LAMP_RED, **look)
        builder.front(rectangle(-0.3, 0.3, 0.5, 0.66), x, z, Material.PLATE, **look)
        return
    builder.front(rectangle(-half, half, floor, height), x, z + box_start, Material.CARGO, tone=box, **look)
    for edge in (-half + 0.1, half - 0.5):
        builder.front(rectangle(edge, edge + 0.4, 0.0, 0.8), x, z, Material.RUBBER, **look)
    cab_front = rectangle(-half * 0.96, half * 0.96, 0.4, cab_height)
    builder.front(cab_front, x, z, Material.TRUCK_PAINT, tone=cab, light=0.95, **look)
    builder.front(rectangle(-half * 0.86, half * 0.86, 1.55, 2.4), x, z, Material.GLASS, **look)
    builder.front(rectangle(-half * 0.6, half * 0.6, 0.75, 1.3), x, z, Material.RUBBER, **look)
    for edge in (-half + 0.1, half - 0.5):
        builder.front(rectangle(edge, edge + 0.4, 0.6, 0.85), x, z, Material.LAMP_WHITE, **look)


def bus(builder: SceneBuilder, x: float, z: float, away: bool) -> None:
    """Add a city bus."""
    choice = builder.random
    width, height, length = 2.6, choice.uniform(3.0, 3.3), choice.uniform(10.0, 13.0)
    tone, instance = choice.random(), builder.new_instance()
    look = dict(label=Label.BUS, instance=instance)
    x1, x2, half = x - width / 2, x + width / 2, width / 2
    builder.footprint(x1, x2, z, z + length, height)
    side = _facing_side(x1, x2)
    if side is not None:
        body = rectangle(0, length, 0.3, height)
        builder.side(body, side, z, Material.BUS_PAINT, tone=tone, light=0.9, **look)
        pane = (length - 0.6) / 6
        for index in range(6):
            window = rectangle(0.4 + index * pane, 0.25 + (index + 1) * pane, 1.35, 2.55)
            builder.side(window, side, z, Material.GLASS, light=0.9, **look)
        for position in (2.4, length - 2.4):
            builder.side(disc(position, 0.48, 0.48), side, z, Material.RUBBER, **look)
            builder.side(disc(position, 0.48, 0.22), side, z, Material.SPOKES, **look)
    for edge in (-half + 0.1, half - 0.5):
        builder.front(rectangle(edge, edge + 0.4, 0.0, 0.6), x, z, Material.RUBBER, **look)
    builder.front(rectangle(-half, half, 0.3, height), x, z, Material.BUS_PAINT, tone=tone, light=0.95, **look)
    bottom = 1.5 if away else 1.05
    builder.front(rectangle(-half * 0.88, half * 0.88, bottom, 2.5), x, z, Material.GLASS, **look)
    builder.front(rectangle(-half * 0.6, half * 0.6, 2.62, 2.92), x, z, Material.LAMP_OFF, **look)
    builder.front(rectangle(-half * 0.45, half * 0.45, 2.68, 2.86), x, z, Material.LAMP_AMBER, **look)
    lamp = Material.LAMP_RED if away else Material.LAMP_WHITE
    for edge in (-half + 0.08, half - 0.48):
        builder.front(rectangle(edge, edge + 0.4, 0.55, 0.85), x, z, lamp, **look)


def train(builder: SceneBuilder, x: float, z: float) -> None:
    """Add a tram on its track."""
    choice = builder.random
    width, height, length = 2.6, choice.uniform(3.5, 3.8), choice.uniform(26.0, 38.0)
    tone, instance = choice.random(), builder.new_instance()
    look = dict(label=Label.TRAIN, instance=instance)
    x1, x2, half = x - width / 2, x + width / 2, width / 2
    builder.footprint(x1, x2, z, z + length, height)
    side = _facing_side(x1, x2)
    if side is not None:
        body = rectangle(0.3, length, 0.35, height)
        builder.side(body, side, z, Material.TRAIN_PAINT, tone=tone, light=0.9, **look)
        builder.side(rectangle(0.3, length, 0.05, 0.4), side, z, Material.RUBBER, **look)
        builder.side(rectangle(0.3, length, 1.5, 2.75), side, z, Material.GLASS, light=0.9, **look)
        builder.side(rectangle(0.3, length, 0.75, 1.15), side, z, Material.BAND, tone=tone, light=0.9, **look)
        start = 3.0
        while start < length:
            door = rectangle(start, start + 0.35, 0.4, height)
            builder.side(door, side, z, Material.TRAIN_PAINT, tone=tone, light=0.8, **look)
            start += 4.2
    nose = [(-half, 0.4), (half, 0.4), (half, 2.6), (half * 0.78, height), (-half * 0.78, height), (-half, 2.6)]
    builder.front(rectangle(-half * 0.8, half * 0.8, 0.05, 0.4), x, z, Material.RUBBER, **look)
    builder.front(nose, x, z, Material.TRAIN_PAINT, tone=tone, **look)
    builder.front(rectangle(-half, half, 0.75, 1.15), x, z, Material.BAND, tone=tone, **look)
    shield = [(-half * 0.86, 1.45), (half * 0.86, 1.45), (half * 0.72, 2.85), (-half * 0.72, 2.85)]
    builder.front(shield, x, z, Material.GLASS, **look)
    builder.front(rectangle(-half * 0.35, half * 0.35, 3.0, 3.3), x, z, Material.LAMP_AMBER, **look)
    for edge in (-half * 0.8, half * 0.8 - 0.3):
        builder.front(rectangle(edge, edge + 0.3, 0.5, 0.7), x, z, Material.LAMP_WHITE, **look)


def person(builder: SceneBuilder, x: float, z: float) -> None:
    """Add somebody who stands or walks."""
    choice = builder.random
    size = choice.uniform(1.0, 1.2)
    stride = choice.uniform(0.02, 0.3)
    jacket, trousers, instance = choice.random(), choice.random(), builder.new_instance()
    look = dict(label=Label.PERSON, instance=instance)
    builder.footprint(x - 0.25, x + 0.25, z, z + 0.35, 1.75 * size)

    def limb(x1: float, y1: float, x2: float, y2: float, thickness: float, material: Material, tone: float) -> None:
        polygon = bar(x1 * size, y1 * size, x2 * size, y2 * size, thickness * size)
        builder.front(polygon, x, z, material, tone=tone, **look)

    limb(-0.07, 0.92, -0.07 - stride, 0.0, 0.19, Material.TROUSERS, trousers)
    limb(0.07, 0.92, 0.07 + stride, 0.0, 0.19, Material.TROUSERS, trousers)
    limb(-0.25, 1.42, -0.3 - stride / 2, 0.85, 0.13, Material.JACKET, jacket)
    limb(0.25, 1.42, 0.3 + stride / 2, 0.85, 0.13, Material.JACKET, jacket)
    torso = [(-0.2, 0.85), (0.2, 0.85), (0.28, 1.45), (0.12, 1.54), (-0.12, 1.54), (-0.28, 1.45)]
    builder.front([(a * size, b * size) for a, b in torso], x, z, Material.JACKET, tone=jacket, **look)
    builder.front(disc(0.0, 1.68 * size, 0.14 * size), x, z, Material.SKIN, tone=choice.random(), **look)
    hair = [(-0.14, 1.7), (0.14, 1.7), (0.12, 1.8), (0.0, 1.85), (-0.12, 1.8)]
    builder.front([(a * size, b * size) for a, b in hair], x, z, Material.HAIR, tone=choice.random(), **look)


def bicycle(builder: SceneBuilder, x: float, z: float, ridden: bool) -> None:
    """Add a bicycle, with a rider when it is ``ridden``."""
    choice = builder.random
    squash = choice.uniform(0.55, 1.0) * choice.choice((-1, 1))
    tone, instance = choice.random(), builder.new_instance()
    look = dict(label=Label.BICYCLE, instance=instance)
    builder.footprint(x - 0.9 * abs(squash), x + 0.9 * abs(squash), z, z + 0.4, 1.7 if ridden else 1.0)
    for hub in (-0.58, 0.58):
        builder.front(disc(hub * squash, 0.37, 0.38, squash), x, z, Material.RUBBER, **look)
        builder.front(disc(hub * squash, 0.37, 0.27, squash), x, z, Material.SPOKES, **look)
    for x1, y1, x2, y2 in (
        (-0.58, 0.37, -0.2, 0.85),
        (-0.58, 0.37, 0.0, 0.36),
        (-0.2, 0.85, 0.42, 0.85),
        (0.0, 0.36, 0.42, 0.85),
        (0.42, 0.95, 0.58, 0.37),
        (0.0, 0.36, -0.25, 1.0),
    ):
        builder.front(bar(x1 * squash, y1, x2 * squash, y2, 0.09), x, z, Material.FRAME, tone=tone, **look)
    builder.front(bar(-0.4 * squash, 1.0, -0.12 * squash, 1.02, 0.09), x, z, Material.RUBBER, **look)
    builder.front(bar(0.32 * squash, 1.04, 0.5 * squash, 0.98, 0.07), x, z, Material.RUBBER, **look)
    if ridden:
        _rider(builder, x, z, squash, seat=1.0, pedals=0.3, hands=(0.42, 1.05), bulk=1.0)


def motorcycle(builder: SceneBuilder, x: float, z: float, ridden: bool) -> None:
    """Add a motorcycle or scooter, with a rider when it is ``ridden``."""
    choice = builder.random
    squash = choice.uniform(0.55, 1.0) * choice.choice((-1, 1))
    tone, instance = choice.random(), builder.new_instance()
    look = dict(label=Label.MOTORCYCLE, instance=instance)
    builder.footprint(x - abs(squash), x + abs(squash), z, z + 0.7, 1.7 if ridden else 1.1)
    for hub in (-0.72, 0.72):
        builder.front(disc(hub * squash, 0.34, 0.36, squash), x, z, Material.RUBBER, **look)
        builder.front(disc(hub * squash, 0.34, 0.13, squash), x, z, Material.SPOKES, **look)
    engine = [(-0.5, 0.28), (0.42, 0.28), (0.5, 0.7), (-0.45, 0.75)]
    builder.front([(a * squash, b) for a, b in engine], x, z, Material.RUBBER, **look)
    hull = [(-1.0, 0.85), (-0.55, 0.72), (0.1, 0.62), (0.55, 0.62), (0.78, 0.8), (0.62, 1.15), (0.42, 1.18)]
    hull += [(0.25, 1.02), (-0.2, 0.88), (-0.95, 0.98)]
    builder.front([(a * squash, b) for a, b in hull], x, z, Material.FRAME, tone=tone, **look)
    builder.front(bar(-0.85 * squash, 0.96, -0.1 * squash, 0.9, 0.14), x, z, Material.RUBBER, **look)
    builder.front(bar(0.72 * squash, 0.34, 0.48 * squash, 1.1, 0.1), x, z, Material.SPOKES, **look)
    builder.front(disc(0.72 * squash, 0.95, 0.1, squash), x, z, Material.LAMP_WHITE, **look)
    if ridden:
        _rider(builder, x, z, squash, seat=0.95, pedals=0.36, hands=(0.42, 1.18), bulk=1.25)


def _rider(
    builder: SceneBuilder,
    x: float,
    z: float,
    squash: float,
    seat: float,
    pedals: float,
    hands: tuple[float, float],
    bulk: float,
) -> None:
    """Seat somebody on a two-wheeler."""
    choice = builder.random
    jacket, trousers = choice.random(), choice.random()
    look = dict(label=Label.RIDER, instance=builder.new_instance())
    knee = (0.12, (seat + pedals) / 2 + 0.12)
    for x1, y1, x2, y2 in ((-0.24, seat, *knee), (*knee, 0.02, pedals)):
        leg = bar(x1 * squash, y1, x2 * squash, y2, 0.2 * bulk)
        builder.front(leg, x, z, Material.TROUSERS, tone=trousers, **look)
    torso = [(-0.4, seat - 0.02), (-0.06, seat - 0.05), (0.24, seat + 0.5), (0.05, seat + 0.62)]
    torso.append((-0.14, seat + 0.55))
    builder.front([(a * squash * bulk, b) for a, b in torso], x, z, Material.JACKET, tone=jacket, **look)
    arm = bar(0.1 * squash, seat + 0.5, hands[0] * squash, hands[1], 0.13 * bulk)
    builder.front(arm, x, z, Material.JACKET, tone=jacket, light=0.85, **look)
    builder.front(disc(0.15 * squash, seat + 0.75, 0.15), x, z, Material.SKIN, tone=choice.random(), **look)
    helmet = [(-0.04, seat + 0.74), (0.33, seat + 0.78), (0.28, seat + 0.93), (0.14, seat + 0.97), (0.0, seat + 0.9)]
    builder.front([(a * squash, b) for a, b in helmet], x, z, Material.HELMET, tone=choice.random(), **look)


def lamp_post(builder: SceneBuilder, x: float, z: float) -> None:
    """Add a street lamp whose arm reaches over the road."""
    choice = builder.random
    height, tone = choice.uniform(6.0, 8.0), choice.random()
    reach = -1.8 if x > 0 else 1.8
    look = dict(label=Label.POLE, instance=builder.new_instance())
    builder.footprint(x - 0.12, x + 0.12, z, z + 0.2, height)
    builder.front(rectangle(-0.18, 0.18, 0.0, height), x, z, Material.METAL, tone=tone, **look)
    builder.front(bar(0.0, height - 0.1, reach, height + 0.2, 0.2), x, z, Material.METAL, tone=tone, **look)
    builder.front(bar(reach * 0.8, height + 0.15, reach * 1.3, height + 0.2, 0.26), x, z, Material.LAMP_OFF, **look)


def plain_pole(builder: SceneBuilder, x: float, z: float) -> None:
    """Add a pole or bollard without anything on it."""
    choice = builder.random
    tall = choice.random() < 0.7
    height, half = (choice.uniform(4.5, 9.0), 0.19) if tall else (1.1, 0.16)
    look = dict(label=Label.POLE, instance=builder.new_instance(), tone=choice.random())
    builder.footprint(x - 0.12, x + 0.12, z, z + 0.2, height)
    builder.front(rectangle(-half, half, 0.0, height), x, z, Material.METAL, **look)


def traffic_light(builder: SceneBuilder, x: float, z: float) -> None:
    """Add a traffic light, on a post or hanging over the road."""
    choice = builder.random
    instance, tone = builder.new_instance(), choice.random()
    post = dict(label=Label.POLE, tone=tone)
    builder.footprint(x - 0.15, x + 0.15, z, z + 0.2, 3.5)
    hanging = choice.random() < 0.4
    height = 5.2 if hanging else 2.7
    builder.front(rectangle(-0.16, 0.16, 0.0, height), x, z, Material.METAL, **post)
    places = [(0.0, 2.3)]
    if hanging:
        reach = -2.8 if x > 0 else 2.8
        builder.front(bar(0.0, 5.1, reach, 5.3, 0.18), x, z, Material.METAL, **post)
        places = [(0.0, 2.2), (reach * 0.95, 4.3)]
    lit = choice.randrange(3)
    for right, bottom in places:
        case = rectangle(right - 0.31, right + 0.31, bottom, bottom + 1.3)
        look = dict(label=Label.TRAFFIC_LIGHT, instance=instance)
        builder.front(case, x, z, Material.LIGHT_BOX, tone=tone, **look)
        for index, color in enumerate((Material.LAMP_GREEN, Material.LAMP_AMBER, Material.LAMP_RED)):
            material = color if index == lit else Material.LAMP_OFF
            builder.front(disc(right, bottom + 0.24 + 0.41 * index, 0.17), x, z, material, **look)


def traffic_sign(builder: SceneBuilder, x: float, z: float) -> None:
    """Add a traffic sign on its post."""
    choice = builder.random
    look = dict(label=Label.TRAFFIC_SIGN, instance=builder.new_instance(), light=1.1)
    bottom = choice.uniform(1.9, 2.5)
    kind = choice.randrange(5)
    top = bottom + (1.1 if kind == 4 else 0.9)
    builder.footprint(x - 0.3, x + 0.3, z, z + 0.1, top)
    builder.front(rectangle(-0.13, 0.13, 0.0, top), x, z, Material.METAL, label=Label.POLE, tone=choice.random())
    middle = (bottom + top) / 2
    if kind == 0:  # round, red rim
        builder.front(disc(0.0, middle, 0.48), x, z, Material.SIGN_RED, **look)
        builder.front(disc(0.0, middle, 0.31), x, z, Material.SIGN_WHITE, **look)
    elif kind == 1:  # triangle
        outer = [(-0.55, bottom), (0.55, bottom), (0.0, top + 0.1)]
        inner = [(-0.29, bottom + 0.15), (0.29, bottom + 0.15), (0.0, top - 0.18)]
        builder.front(outer, x, z, Material.SIGN_RED, **look)
        builder.front(inner, x, z, Material.SIGN_WHITE, **look)
    elif kind == 2:  # round, blue
        builder.front(disc(0.0, middle, 0.47), x, z, Material.SIGN_BLUE, **look)
        builder.front(bar(-0.2, middle - 0.15, 0.2, middle + 0.15, 0.14), x, z, Material.SIGN_WHITE, **look)
    elif kind == 3:  # diamond
        outer = [(0.0, bottom - 0.08), (0.55, middle), (0.0, top + 0.08), (-0.55, middle)]
        inner = [(0.0, bottom + 0.14), (0.33, middle), (0.0, top - 0.14), (-0.33, middle)]
        builder.front(outer, x, z, Material.SIGN_WHITE, **look)
        builder.front(inner, x, z, Material.SIGN_YELLOW, **look)
    else:  # direction board
        width = choice.uniform(0.6, 1.0)
        builder.front(rectangle(-width, width, bottom, top), x, z, Material.SIGN_BLUE, **look)
        for line in (0.35, 0.75):
            text = rectangle(-width * 0.8, width * 0.55, bottom + line - 0.08, bottom + line + 0.08)
            builder.front(text, x, z, Material.SIGN_WHITE, **look)


def tree(builder: SceneBuilder, x: float, z: float, size: float) -> None:
    """Add a tree with a crown of radius ``size``."""
    choice = builder.random
    look = dict(label=Label.VEGETATION, instance=0)
    stem, tone = choice.uniform(1.6, 2.4), choice.random()
    thickness = 0.12 + 0.07 * size
    builder.footprint(x - size * 0.8, x + size * 0.8, z, z + size, stem + 2 * size, bottom=stem)
    builder.front(rectangle(-thickness, thickness, 0.0, stem + size), x, z, Material.BARK, tone=tone, **look)
    middle = stem + size
    for right, up, radius, light in ((0.0, 0.0, 1.0, 0.8), (-0.3, 0.25, 0.68, 0.95), (0.28, 0.42, 0.6, 1.1)):
        outline = choice.choice(_BLOBS)
        scale = radius * size
        crown = [(right * size + a * scale, middle + up * size + b * scale) for a, b in outline]
        builder.front(crown, x, z, Material.FOLIAGE, tone=tone, light=light, **look)


def bush(builder: SceneBuilder, x: float, z: float, size: float) -> None:
    """Add a bush of radius ``size``."""
    choice = builder.random
    tone = choice.random()
    builder.footprint(x - size, x + size, z, z + size, size)
    for radius, light in ((1.0, 0.85), (0.7, 1.05)):
        outline = choice.choice(_BLOBS)
        shape = [(a * size * radius, max(size * 0.7 + b * size * radius, 0.0)) for a, b in outline]
        builder.front(shape, x, z, Material.FOLIAGE, Label.VEGETATION, tone=tone, light=light)


def bin_box(builder: SceneBuilder, x: float, z: float) -> None:
    """Add a litter bin or a switch box (no training class)."""
    choice = builder.random
    width, height = choice.uniform(0.35, 0.6), choice.uniform(0.9, 1.3)
    builder.footprint(x - width, x + width, z, z + 0.5, height)
    builder.front(rectangle(-width, width, 0.0, height), x, z, Material.BIN, Label.STATIC, tone=choice.random())
