"""Appearances: the colours, light, air and sensor that turn one and the same scene into different pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

from .scene import Material

Range = tuple[float, float]
Color = tuple[int, int, int]


@dataclass(frozen=True)
class Appearance:
    """An appearance. Ranges are uniform and drawn once per picture. Colours are RGB, 0..255.

    Attributes:
        colors (Mapping[Material, tuple[Color, ...]]): Colours to choose from for each material.
        grain (Mapping[Material, tuple[float, float]]): Strength of the fine and of the coarse texture.
        tone_spread (float): Variation of the brightness among objects of one colour.
        sky (tuple[tuple[Color, Color], ...]): Pairs of colours, zenith and horizon, to choose from.
        clouds (Range): Strength of the clouds.
        sunlight (Range): Share of directed light; the rest comes from everywhere.
        sun_height (Range): Elevation of the sun in degrees.
        shadow (Range): Strength of cast shadows.
        shadow_blur (float): Softness of shadows relative to the width of the picture.
        haze (Range): Extinction of the air in 1/m.
        haze_color (Color): Colour of the haze.
        wear (float): How much of the road markings is worn off.
        pane_spread (float): Variation of the brightness among window panes.
        tiles (float): Strength of the joints between paving slabs.
        antialias (bool): Whether pixels are averaged, or jagged as an old renderer's.
        exposure (Range): Factor on the brightness.
        contrast (Range): Factor on the distance to middle grey.
        saturation (Range): Factor on the distance to grey.
        tint (Color): White point; 255 leaves a channel as it is.
        tint_spread (float): Random change of the white point per channel.
        vignette (Range): Darkening of the corners.
        blur (Range): Standard deviation of the lens blur in pixels of a picture 256 wide.
        sharpen (float): Strength of an unsharp mask.
        noise (Range): Standard deviation of the sensor noise, in levels of 0..255.
    """

    colors: Mapping[Material, tuple[Color, ...]]
    grain: Mapping[Material, tuple[float, float]]
    tone_spread: float
    sky: tuple[tuple[Color, Color], ...]
    clouds: Range
    sunlight: Range
    sun_height: Range
    shadow: Range
    shadow_blur: float
    haze: Range
    haze_color: Color
    wear: float
    pane_spread: float
    tiles: float
    antialias: bool
    exposure: Range
    contrast: Range
    saturation: Range
    tint: Color
    tint_spread: float
    vignette: Range
    blur: Range
    sharpen: float
    noise: Range


_FIXED_COLORS = {
    Material.RUBBER: ((30, 30, 33),),
    Material.LAMP_RED: ((232, 32, 26),),
    Material.LAMP_AMBER: ((250, 176, 30),),
    Material.LAMP_GREEN: ((40, 226, 130),),
    Material.LAMP_WHITE: ((250, 248, 230),),
    Material.LAMP_OFF: ((52, 52, 54),),
    Material.PLATE: ((225, 225, 215),),
    Material.SKIN: ((231, 188, 158), (198, 148, 116), (140, 96, 70), (92, 62, 46)),
    Material.HAIR: ((40, 30, 26), (92, 64, 40), (160, 126, 74), (120, 118, 116)),
}

GAME = Appearance(
    colors={
        **_FIXED_COLORS,
        Material.SKY: ((255, 255, 255),),
        Material.ASPHALT: ((96, 98, 106),),
        Material.MARKING: ((238, 236, 226),),
        Material.PARKING: ((120, 112, 112),),
        Material.PAVING: ((198, 186, 168),),
        Material.GRASS: ((104, 168, 58), (122, 176, 62)),
        Material.BALLAST: ((140, 124, 108),),
        Material.RAIL: ((92, 84, 82),),
        Material.FACADE: (
            (226, 196, 150),
            (206, 124, 92),
            (236, 222, 190),
            (172, 196, 204),
            (214, 168, 112),
            (186, 92, 74),
        ),
        Material.SHOPFRONT: ((120, 62, 58), (58, 84, 120), (70, 110, 84), (150, 120, 60)),
        Material.ROOF: ((176, 84, 58), (150, 74, 60), (108, 96, 96)),
        Material.DISTANT: ((196, 180, 164), (176, 160, 156), (208, 188, 160)),
        Material.MASONRY: ((206, 192, 166), (178, 118, 92), (190, 184, 176)),
        Material.BARS: ((58, 62, 72), (214, 212, 204), (120, 84, 52)),
        Material.METAL: ((116, 122, 130), (82, 88, 96)),
        Material.FOLIAGE: ((78, 142, 44), (98, 154, 48), (62, 124, 52)),
        Material.BARK: ((116, 82, 54),),
        Material.CAR_PAINT: (
            (208, 36, 34),
            (36, 86, 190),
            (240, 196, 40),
            (236, 236, 232),
            (44, 130, 84),
            (40, 42, 48),
            (230, 118, 34),
        ),
        Material.TRUCK_PAINT: ((210, 52, 40), (50, 96, 176), (232, 228, 216)),
        Material.CARGO: ((234, 230, 220), (70, 118, 184), (212, 168, 60), (158, 60, 52)),
        Material.BUS_PAINT: ((238, 186, 32), (62, 150, 92), (228, 96, 38)),
        Material.TRAIN_PAINT: ((222, 222, 226), (84, 130, 196)),
        Material.BAND: ((206, 40, 44), (238, 198, 46)),
        Material.GLASS: ((54, 78, 104),),
        Material.JACKET: ((206, 50, 54), (52, 96, 186), (236, 210, 78), (240, 240, 236), (70, 146, 96), (60, 54, 70)),
        Material.TROUSERS: ((54, 70, 116), (44, 44, 50), (126, 108, 84)),
        Material.HELMET: ((238, 60, 40), (246, 246, 240), (52, 120, 210)),
        Material.FRAME: ((216, 40, 44), (40, 110, 206), (30, 152, 90), (240, 170, 30)),
        Material.SPOKES: ((168, 172, 178),),
        Material.LIGHT_BOX: ((40, 44, 42),),
        Material.SIGN_RED: ((222, 30, 34),),
        Material.SIGN_BLUE: ((28, 84, 190),),
        Material.SIGN_YELLOW: ((250, 206, 36),),
        Material.SIGN_WHITE: ((248, 248, 246),),
        Material.HOOD: ((60, 64, 72),),
        Material.BIN: ((70, 92, 78), (128, 128, 128)),
    },
    grain={
        Material.ASPHALT: (0.05, 0.04),
        Material.PAVING: (0.05, 0.03),
        Material.GRASS: (0.16, 0.06),
        Material.BALLAST: (0.25, 0.05),
        Material.FACADE: (0.03, 0.03),
        Material.MASONRY: (0.06, 0.04),
        Material.FOLIAGE: (0.26, 0.16),
        Material.BARK: (0.15, 0.0),
        Material.ROOF: (0.08, 0.02),
    },
    tone_spread=0.12,
    sky=(((74, 134, 220), (190, 220, 246)), ((58, 112, 206), (216, 226, 238)), ((104, 156, 226), (244, 226, 200))),
    clouds=(0.05, 0.5),
    sunlight=(0.35, 0.5),
    sun_height=(30.0, 62.0),
    shadow=(0.38, 0.52),
    shadow_blur=0.002,
    haze=(0.0006, 0.0016),
    haze_color=(206, 222, 240),
    wear=0.0,
    pane_spread=0.25,
    tiles=0.22,
    antialias=False,
    exposure=(0.92, 1.1),
    contrast=(1.05, 1.15),
    saturation=(1.0, 1.2),
    tint=(255, 252, 244),
    tint_spread=0.015,
    vignette=(0.0, 0.06),
    blur=(0.0, 0.0),
    sharpen=0.25,
    noise=(0.0, 0.0),
)
"""A sunny open-world game: clean, saturated surfaces, hard shadows, crisp pixels."""

SIMULATOR = Appearance(
    colors={
        **GAME.colors,
        Material.ASPHALT: ((74, 72, 76),),
        Material.MARKING: ((226, 226, 226),),
        Material.PARKING: ((104, 100, 112),),
        Material.PAVING: ((148, 132, 124), (126, 128, 136)),
        Material.GRASS: ((112, 132, 52),),
        Material.FACADE: (
            (172, 92, 66),
            (150, 138, 126),
            (196, 178, 140),
            (122, 66, 58),
            (106, 120, 138),
        ),
        Material.DISTANT: ((150, 132, 128), (128, 126, 140)),
        Material.MASONRY: ((152, 92, 74), (146, 142, 136)),
        Material.BARS: ((150, 152, 154), (52, 66, 58)),
        Material.METAL: ((62, 62, 66), (96, 96, 92)),
        Material.FOLIAGE: ((70, 98, 36), (96, 112, 44), (52, 84, 46)),
        Material.CAR_PAINT: (
            (150, 26, 30),
            (30, 54, 128),
            (200, 200, 204),
            (58, 60, 62),
            (24, 96, 92),
            (182, 150, 40),
        ),
        Material.BUS_PAINT: ((196, 44, 38), (226, 224, 216)),
        Material.TRAIN_PAINT: ((202, 206, 206), (46, 96, 92)),
        Material.BAND: ((34, 92, 166), (206, 40, 44)),
        Material.GLASS: ((36, 46, 62),),
    },
    grain={
        **GAME.grain,
        Material.ASPHALT: (0.10, 0.07),
        Material.PAVING: (0.12, 0.07),
        Material.GRASS: (0.28, 0.14),
        Material.FACADE: (0.09, 0.05),
        Material.MASONRY: (0.14, 0.06),
        Material.FOLIAGE: (0.38, 0.18),
        Material.ROOF: (0.2, 0.08),
        Material.CARGO: (0.05, 0.05),
    },
    tone_spread=0.2,
    sky=(((92, 120, 168), (186, 196, 214)), ((70, 78, 112), (212, 170, 140)), ((132, 140, 156), (206, 208, 214))),
    clouds=(0.2, 0.7),
    sunlight=(0.2, 0.5),
    sun_height=(22.0, 60.0),
    shadow=(0.3, 0.55),
    shadow_blur=0.003,
    haze=(0.001, 0.003),
    haze_color=(178, 186, 206),
    wear=0.15,
    pane_spread=0.5,
    tiles=0.35,
    antialias=False,
    exposure=(1.0, 1.25),
    contrast=(1.05, 1.2),
    saturation=(0.9, 1.1),
    tint=(244, 248, 255),
    tint_spread=0.04,
    vignette=(0.0, 0.1),
    blur=(0.0, 0.0),
    sharpen=0.4,
    noise=(0.0, 0.0),
)
"""A driving simulator: busy textures, bluish light of changing hours, deep contrast."""

DASHCAM = Appearance(
    colors={
        **_FIXED_COLORS,
        Material.SKY: ((255, 255, 255),),
        Material.ASPHALT: ((112, 110, 108), (98, 98, 98), (122, 118, 112)),
        Material.MARKING: ((206, 204, 198),),
        Material.PARKING: ((124, 118, 114), (112, 110, 108)),
        Material.PAVING: ((166, 158, 148), (150, 146, 140), (174, 164, 150)),
        Material.GRASS: ((100, 126, 64), (118, 128, 74), (84, 114, 58)),
        Material.BALLAST: ((108, 102, 96),),
        Material.RAIL: ((140, 136, 132),),
        Material.FACADE: (
            (178, 166, 144),
            (152, 142, 128),
            (202, 188, 158),
            (150, 108, 86),
            (164, 168, 168),
            (182, 148, 112),
        ),
        Material.SHOPFRONT: ((66, 62, 62), (92, 86, 80), (72, 78, 84)),
        Material.ROOF: ((112, 78, 66), (86, 82, 82)),
        Material.DISTANT: ((150, 148, 146), (136, 132, 130)),
        Material.MASONRY: ((134, 128, 120), (150, 144, 134), (120, 100, 90)),
        Material.BARS: ((92, 94, 94), (124, 122, 116), (78, 86, 78)),
        Material.METAL: ((108, 110, 110), (76, 78, 78), (134, 134, 130)),
        Material.FOLIAGE: ((64, 98, 46), (80, 106, 50), (54, 82, 44), (94, 112, 58)),
        Material.BARK: ((74, 66, 58),),
        Material.CAR_PAINT: (
            (46, 48, 50),
            (150, 152, 154),
            (196, 198, 198),
            (74, 78, 84),
            (26, 28, 30),
            (58, 66, 92),
            (112, 40, 38),
            (110, 114, 116),
        ),
        Material.TRUCK_PAINT: ((188, 188, 184), (94, 104, 124), (140, 62, 52)),
        Material.CARGO: ((196, 196, 192), (168, 166, 158), (120, 128, 140)),
        Material.BUS_PAINT: ((206, 178, 84), (186, 190, 186), (178, 84, 54)),
        Material.TRAIN_PAINT: ((196, 198, 198), (198, 184, 128)),
        Material.BAND: ((160, 50, 48), (60, 88, 136)),
        Material.GLASS: ((52, 58, 62), (74, 80, 84)),
        Material.JACKET: ((44, 46, 52), (82, 82, 86), (62, 70, 92), (124, 116, 106), (98, 48, 48), (176, 172, 166)),
        Material.TROUSERS: ((48, 54, 68), (36, 36, 40), (88, 82, 76)),
        Material.HELMET: ((44, 44, 46), (182, 182, 178), (108, 50, 48)),
        Material.FRAME: ((44, 46, 50), (100, 102, 104), (92, 44, 42), (50, 64, 86)),
        Material.SPOKES: ((112, 114, 114),),
        Material.LIGHT_BOX: ((38, 40, 40), (62, 64, 60)),
        Material.SIGN_RED: ((196, 46, 44),),
        Material.SIGN_BLUE: ((42, 82, 152),),
        Material.SIGN_YELLOW: ((206, 176, 70),),
        Material.SIGN_WHITE: ((212, 212, 208),),
        Material.HOOD: ((44, 48, 52),),
        Material.BIN: ((74, 78, 76), (110, 108, 104)),
    },
    grain={
        Material.ASPHALT: (0.10, 0.12),
        Material.MARKING: (0.12, 0.12),
        Material.PARKING: (0.10, 0.12),
        Material.PAVING: (0.12, 0.10),
        Material.GRASS: (0.25, 0.14),
        Material.BALLAST: (0.30, 0.10),
        Material.FACADE: (0.07, 0.10),
        Material.SHOPFRONT: (0.10, 0.20),
        Material.ROOF: (0.15, 0.10),
        Material.DISTANT: (0.05, 0.08),
        Material.MASONRY: (0.14, 0.14),
        Material.FOLIAGE: (0.42, 0.24),
        Material.BARK: (0.25, 0.1),
        Material.CARGO: (0.05, 0.08),
        Material.JACKET: (0.15, 0.1),
        Material.TROUSERS: (0.15, 0.1),
        Material.CAR_PAINT: (0.0, 0.08),
    },
    tone_spread=0.22,
    sky=(((206, 212, 216), (232, 234, 232)), ((176, 186, 196), (224, 228, 228)), ((222, 222, 216), (238, 238, 234))),
    clouds=(0.03, 0.2),
    sunlight=(0.05, 0.22),
    sun_height=(35.0, 60.0),
    shadow=(0.22, 0.42),
    shadow_blur=0.014,
    haze=(0.002, 0.006),
    haze_color=(206, 210, 208),
    wear=0.45,
    pane_spread=0.6,
    tiles=0.1,
    antialias=True,
    exposure=(1.0, 1.25),
    contrast=(0.88, 1.02),
    saturation=(0.7, 0.95),
    tint=(243, 255, 243),
    tint_spread=0.03,
    vignette=(0.12, 0.28),
    blur=(0.4, 0.7),
    sharpen=0.0,
    noise=(2.5, 5.5),
)
"""A camera behind a windscreen on an overcast day: grey paint, worn surfaces, haze, a greenish cast, sensor noise."""
