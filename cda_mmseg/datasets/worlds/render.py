"""Turn a scene into a picture: shade the surface that each pixel shows, then light, air, lens and sensor."""

from functools import cache

import cv2
import numpy as np

from .appearances import Appearance
from .scene import NEAR, RASTER_SCALE, Material, Plane, Scene

TEXTURE_SIZE = 256  # texels; a power of two, because coordinates wrap by masking
FINE_TEXELS_PER_METRE = 14.0
COARSE_TEXELS_PER_METRE = 1.7
FADE_DISTANCE = 28.0  # metres; fine texture fades beyond, where it would alias
SKY_DISTANCE = 400.0


@cache
def _textures() -> tuple[np.ndarray, np.ndarray]:
    """Make a fine and a coarse tileable noise, flat float32 arrays with standard deviation 1 at most, in [-2, 2]."""
    generator = np.random.Generator(np.random.PCG64(2018))
    textures = []
    for blurs in ((0.6, 1.6), (2.0, 7.0)):
        total = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE), np.float32)
        for sigma in blurs:
            noise = generator.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE), dtype=np.float32)
            wrapped = np.pad(noise, 32, mode='wrap')
            smooth = cv2.GaussianBlur(wrapped, (0, 0), sigma)[32:-32, 32:-32]
            total += smooth / smooth.std()
        textures.append(np.clip(total / total.std(), -2, 2).ravel())
    return textures[0], textures[1]


def render(scene: Scene, raster: np.ndarray, appearance: Appearance, generator: np.random.Generator) -> np.ndarray:
    """Render a picture.

    Args:
        raster (np.ndarray): What ``scene.rasterize()`` gave.
        appearance (Appearance): The appearance.
        generator (np.random.Generator): Source of light, weather and noise.

    Returns:
        np.ndarray: Picture (height, width, 3), uint8, BGR.
    """
    camera = scene.camera
    scale = RASTER_SCALE if appearance.antialias else 1
    if not appearance.antialias:
        raster = raster[RASTER_SCALE // 2 :: RASTER_SCALE, RASTER_SCALE // 2 :: RASTER_SCALE]
    height, width = raster.shape
    columns = (np.arange(width, dtype=np.float32) + 0.5) / scale
    rows = (np.arange(height, dtype=np.float32) + 0.5) / scale
    right = (columns - np.float32(camera.center)) / np.float32(camera.focal)
    down = (rows - np.float32(camera.horizon)) / np.float32(camera.focal)
    shape = raster.astype(np.intp)

    sun = _Sun(appearance, generator)
    base = _surface_colors(scene, appearance, generator) * sun.brightness(scene)[:, None]
    picture = np.take(base.astype(np.float32), shape, axis=0)

    plane = np.take(scene.plane, shape)
    is_sky, is_ground, is_side = plane == Plane.SKY, plane == Plane.GROUND, plane == Plane.SIDE
    depth = np.take(scene.offset, shape)
    side_pixels = np.flatnonzero(is_side)
    flat_depth = depth.ravel()
    steepness = right[side_pixels % width]
    flat_depth[side_pixels] /= np.where(np.abs(steepness) < 1e-3, 1e-3, steepness)
    ground_depth = camera.elevation / np.maximum(down, 1e-3)
    depth = np.where(is_ground, ground_depth[:, None], depth)
    depth[is_sky] = SKY_DISTANCE
    np.clip(depth, NEAR / 2, SKY_DISTANCE, out=depth)
    across = np.where(is_side, depth, right[None, :] * depth)
    along = np.where(is_ground, depth, np.float32(camera.elevation) - down[:, None] * depth)

    material = np.take(scene.material, shape)
    shading = _texture(appearance, material, across, along, depth)
    if appearance.tiles:
        _joints(shading, material, across, along, depth, appearance.tiles)
    shadow = _shadows(scene, appearance, sun, height, width, scale)
    shading *= np.where(is_ground, 1.0 - np.float32(sun.shadow) * shadow, np.float32(1.0))
    picture *= shading[:, :, None]
    _patterns(picture, scene, appearance, shape, material, across, along)
    _sky(picture, is_sky, rows / camera.horizon, right, down, appearance, generator)

    extinction = generator.uniform(*appearance.haze)
    veil = np.exp(np.float32(-extinction) * depth)
    veil[is_sky] = 1.0
    haze = np.array(appearance.haze_color, np.float32)
    picture -= haze
    picture *= veil[:, :, None]
    picture += haze
    if scale > 1:
        picture = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return _develop(picture, appearance, generator)


class _Sun:
    """Where the light of one picture comes from."""

    def __init__(self, appearance: Appearance, generator: np.random.Generator) -> None:
        self.share = generator.uniform(*appearance.sunlight)
        self.shadow = generator.uniform(*appearance.shadow)
        elevation = np.deg2rad(generator.uniform(*appearance.sun_height))
        azimuth = generator.uniform(-np.pi, np.pi)
        self.direction = np.array(
            [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), -np.cos(elevation) * abs(np.cos(azimuth))]
        )

    def brightness(self, scene: Scene) -> np.ndarray:
        """Light that each polygon receives (S,)."""
        x, y, z = self.direction
        facing = np.ones(len(scene.plane))
        facing[scene.plane == Plane.GROUND] = y
        facing[scene.plane == Plane.FRONT] = 0.35 + 0.65 * max(-z, 0.0)
        side = scene.plane == Plane.SIDE
        facing[side] = np.where(scene.offset[side] < 0, max(x, 0.0), max(-x, 0.0))
        return scene.light * (1.0 - self.share + 1.45 * self.share * facing)


def _surface_colors(scene: Scene, appearance: Appearance, generator: np.random.Generator) -> np.ndarray:
    """Choose the colour of each polygon (S, 3), RGB."""
    colors = np.empty((len(scene.material), 3))
    shuffle = generator.random(len(Material))  # one wall colour is not tied to one scene
    for number in np.unique(scene.material):
        choices = np.array(appearance.colors[Material(number)], np.float64)
        members = scene.material == number
        tones = (scene.tone[members] + shuffle[number]) % 1.0
        place = tones * len(choices)
        chosen = np.minimum(place.astype(int), len(choices) - 1)
        colors[members] = choices[chosen] * (1.0 + appearance.tone_spread * (2.0 * (place - chosen)[:, None] - 1.0))
    return colors


def _texture(
    appearance: Appearance, material: np.ndarray, across: np.ndarray, along: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """Sample the textures at every pixel's place in the world; factor on the brightness."""
    fine, coarse = _textures()
    strengths = np.zeros((2, len(Material)), np.float32)
    for member, (fine_strength, coarse_strength) in appearance.grain.items():
        strengths[:, member] = fine_strength, coarse_strength
    shading = np.take(strengths[0], material)
    shading *= np.take(fine, _texels(across, along, FINE_TEXELS_PER_METRE))
    shading /= 1.0 + depth / np.float32(FADE_DISTANCE)
    shading += np.take(strengths[1], material) * np.take(coarse, _texels(across, along, COARSE_TEXELS_PER_METRE))
    shading += 1.0
    return np.clip(shading, 0.25, 1.9, out=shading)


def _texels(across: np.ndarray, along: np.ndarray, density: float) -> np.ndarray:
    """Wrap world coordinates to indices of a flat texture."""
    mask = TEXTURE_SIZE - 1
    return (((along * np.float32(density)).astype(np.int32) & mask) << 8) | (
        (across * np.float32(density)).astype(np.int32) & mask
    )


def _joints(
    shading: np.ndarray,
    material: np.ndarray,
    across: np.ndarray,
    along: np.ndarray,
    depth: np.ndarray,
    strength: float,
) -> None:
    """Draw the joints between paving slabs."""
    pixels = np.flatnonzero((material == Material.PAVING) & (depth < 30))
    x, z = across.ravel()[pixels] / 0.9, along.ravel()[pixels] / 0.9
    joint = ((x - np.floor(x)) < 0.08) | ((z - np.floor(z)) < 0.08)
    shading.ravel()[pixels[joint]] *= np.float32(1.0 - strength)


def _patterns(
    picture: np.ndarray,
    scene: Scene,
    appearance: Appearance,
    shape: np.ndarray,
    material: np.ndarray,
    across: np.ndarray,
    along: np.ndarray,
) -> None:
    """Draw windows, shop windows, brickwork, fence bars and worn markings."""
    flat, flat_shape = picture.reshape(-1, 3), shape.ravel()
    across, along, material = across.ravel(), along.ravel(), material.ravel()

    def cells(kind: Material) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Give the pixels of a material, their position within a repeated element, and a random number for it."""
        pixels = np.flatnonzero(material == kind)
        owner = flat_shape[pixels]
        u, v = across[pixels] / scene.period[owner, 0], along[pixels] / scene.period[owner, 1]
        column, row = np.floor(u), np.floor(v)
        lot = np.sin(column * 12.9898 + row * 78.233 + (owner % 97) * 3.7) * 437.585
        return pixels, u - column, v - row, lot - np.floor(lot)

    glass = np.array(appearance.colors[Material.GLASS][0], np.float32)
    pixels, u, v, lot = cells(Material.FACADE)
    pane = (np.abs(u - 0.5) < 0.23) & (v > 0.28) & (v < 0.78)
    flat[pixels[pane]] = glass * (1.1 + appearance.pane_spread * (2.0 * lot[pane, None] - 0.8)).astype(np.float32)
    sill = (np.abs(u - 0.5) < 0.29) & (v > 0.2) & (v <= 0.28)
    flat[pixels[sill]] *= np.float32(1.18)

    pixels, u, v, lot = cells(Material.SHOPFRONT)
    pane = (np.abs(u - 0.5) < 0.42) & (v > 0.12) & (v < 0.68)
    flat[pixels[pane]] = glass * (1.5 + appearance.pane_spread * (2.0 * lot[pane, None] - 0.8)).astype(np.float32)
    flat[pixels[v > 0.8]] *= np.float32(1.5)

    pixels, u, v, lot = cells(Material.MASONRY)
    joint = (u < 0.09) | (v < 0.16)
    flat[pixels] *= (1.0 + 0.16 * (lot - 0.5))[:, None].astype(np.float32)
    flat[pixels[joint]] *= np.float32(0.84)

    pixels, u, v, _ = cells(Material.BARS)
    gap = (u > 0.42) & (v > 0.1) & (v < 0.86)
    fine, _ = _textures()
    behind = np.array(appearance.colors[Material.FOLIAGE][0], np.float32) * 0.62 + np.float32(16)
    leaves = 1.0 + 0.2 * np.take(fine, _texels(across[pixels[gap]], along[pixels[gap]], FINE_TEXELS_PER_METRE))
    flat[pixels[gap]] = behind * leaves[:, None].astype(np.float32)

    if appearance.wear:
        _, coarse = _textures()
        pixels = np.flatnonzero(material == Material.MARKING)
        worn = np.take(coarse, _texels(across[pixels], along[pixels], 3.0)) > 1.0 - 1.3 * appearance.wear
        flat[pixels[worn]] *= np.float32(0.68)


def _shadows(scene: Scene, appearance: Appearance, sun: _Sun, height: int, width: int, scale: int) -> np.ndarray:
    """Cast the shadows of all boxes on the ground: 0 in the light, 1 in the dark (height, width)."""
    camera = scene.camera
    # The lower the share of directed light, the nearer a shadow stays to the foot of its box.
    x, y, z = sun.direction
    drift = -2.0 * sun.share / y * np.array([x, z])
    x1, x2, z1, z2, bottom, top = scene.footprints.T
    corners = np.stack([np.stack([x1, x2, x2, x1], axis=1), np.stack([z1, z1, z2, z2], axis=1)], axis=2)
    points = np.concatenate([corners + level[:, None, None] * drift for level in (bottom, top)], axis=1)
    points = points[points[:, :, 1].max(axis=1) > NEAR]
    ratio = camera.focal / np.maximum(points[:, :, 1], NEAR)
    pixels = np.stack([camera.center + ratio * points[:, :, 0], camera.horizon + ratio * camera.elevation], axis=2)
    pixels = np.clip(pixels * scale, -30000, 30000).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    for polygon in pixels:
        cv2.fillConvexPoly(mask, cv2.convexHull(polygon), 255)
    return _soften(mask, appearance.shadow_blur * width).astype(np.float32) / np.float32(255)


def _soften(mask: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a mask; a wide blur is done at a lower resolution, where it is cheap."""
    reduction = max(int(sigma / 1.5), 1)
    if reduction == 1:
        return cv2.GaussianBlur(mask, (0, 0), max(sigma, 0.4))
    height, width = mask.shape
    small = cv2.resize(mask, (-(-width // reduction), -(-height // reduction)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / reduction)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _sky(
    picture: np.ndarray,
    is_sky: np.ndarray,
    elevation: np.ndarray,
    right: np.ndarray,
    down: np.ndarray,
    appearance: Appearance,
    generator: np.random.Generator,
) -> None:
    """Paint the sky: a gradient and clouds."""
    zenith, horizon = appearance.sky[generator.integers(len(appearance.sky))]
    strength = np.float32(generator.uniform(*appearance.clouds))
    shift = generator.integers(TEXTURE_SIZE, size=2)
    rows = int(np.flatnonzero(is_sky.any(axis=1))[-1]) + 1 if is_sky.any() else 0
    if not rows:
        return
    blend = np.clip(elevation[:rows], 0, 1)[:, None] ** np.float32(1.3)
    color = np.array(zenith, np.float32) * (1 - blend) + np.array(horizon, np.float32) * blend
    # Clouds hang in a plane: seen at a flat angle they crowd together towards the horizon.
    distance = 1.0 / np.maximum(-down[:rows] + np.float32(0.12), np.float32(0.05))
    u = right[None, :] * distance[:, None] * np.float32(9) + np.float32(shift[0])
    v = np.broadcast_to((distance * np.float32(22) + np.float32(shift[1]))[:, None], u.shape)
    coarse = _textures()[1].reshape(TEXTURE_SIZE, TEXTURE_SIZE)
    cover = cv2.remap(coarse, u, np.ascontiguousarray(v), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    cloud = np.clip(cover * (strength * np.float32(1.3)), 0, np.float32(0.85))[:, :, None]
    clouded = color[:, None, :] * (1 - cloud) + np.float32(248) * cloud
    np.copyto(picture[:rows], clouded, where=is_sky[:rows, :, None])


@cache
def _corner_distance(height: int, width: int) -> np.ndarray:
    """Give the squared distance from the middle, 1 in the corners (height, width)."""
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    return (rows**2 + columns**2) / 2


def _develop(picture: np.ndarray, appearance: Appearance, generator: np.random.Generator) -> np.ndarray:
    """Apply lens, sensor and tone; RGB float to BGR uint8."""
    height, width = picture.shape[:2]
    exposure, contrast, saturation = (
        generator.uniform(*appearance.exposure),
        generator.uniform(*appearance.contrast),
        generator.uniform(*appearance.saturation),
    )
    tint = np.array(appearance.tint) / 255 * (1 + appearance.tint_spread * generator.uniform(-1, 1, 3))
    # Saturation, white point and contrast are one affine map of the colours; its rows come out as BGR.
    luma = np.array([0.299, 0.587, 0.114])
    matrix = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), luma)
    matrix = contrast * exposure * tint[:, None] * matrix
    affine = np.concatenate([matrix, np.full((3, 1), 128 * (1 - contrast))], axis=1)[::-1]
    picture = cv2.transform(picture, affine.astype(np.float32))
    vignette = np.float32(generator.uniform(*appearance.vignette))
    if vignette:
        picture *= (1 - vignette * _corner_distance(height, width))[:, :, None]
    blur = generator.uniform(*appearance.blur) * width / 256
    if blur:
        picture = cv2.GaussianBlur(picture, (0, 0), max(blur, 0.3))
    if appearance.sharpen:
        smooth = cv2.GaussianBlur(picture, (0, 0), 0.8)
        picture = cv2.addWeighted(picture, 1 + appearance.sharpen, smooth, -appearance.sharpen, 0)
    noise = np.float32(generator.uniform(*appearance.noise))
    if noise:
        picture += noise * generator.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture + np.float32(0.5), 0, 255).astype(np.uint8)
