"""Fourier adaptation and colour statistics, against NumPy."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from cda_mmseg.datasets.transforms import ColourStatistics, FourierAdaptation
from cda_mmseg.engine import PositionedDataset, compose


@pytest.fixture
def target(tmp_path):
    """Config of a data set of four pictures of 24×18."""
    init_default_scope('mmseg')
    random = np.random.default_rng(0)
    for number in range(4):
        picture = random.integers(40 * number, 40 * number + 80, (18, 24, 3), dtype=np.uint8)
        (tmp_path / 'images').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / 'images' / f'{number}.png'), picture)
    return dict(
        type='BaseSegDataset',
        img_suffix='.png',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images'),
        pipeline=[dict(type='LoadImage'), dict(type='PackSegInputs')],
    )


def pictures(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(height * width)
    return tuple(random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2))


def fourier(source: np.ndarray, target: np.ndarray, half: int) -> np.ndarray:
    """The whole spectrum with its zero in the middle, as the authors' NumPy code has it, in float64."""
    own, other = (np.fft.fftshift(np.fft.fft2(one.astype(float), axes=(0, 1)), axes=(0, 1)) for one in (source, target))
    rows, columns = (slice(length // 2 - half, length // 2 + half + 1) for length in source.shape[:2])
    amplitude = np.abs(own)
    amplitude[rows, columns] = np.abs(other)[rows, columns]
    changed = np.fft.ifftshift(amplitude * np.exp(1j * np.angle(own)), axes=(0, 1))
    result = np.fft.ifft2(changed, axes=(0, 1))
    assert np.abs(result.imag).max() < 1e-9  # only a symmetric window keeps it real
    return result.real


@pytest.mark.parametrize('size', [(18, 24), (17, 24), (18, 23), (17, 31), (96, 128)])
@pytest.mark.parametrize('beta', [0.0, 0.01, 0.09, 0.3, 0.49])
def test_the_window_is_symmetric_at_every_size_and_values_are_clipped(target, size, beta):
    source, other = pictures(*size)
    expected = fourier(source, other, int(beta * min(size)))
    found = FourierAdaptation(target, beta).apply(source, other)
    assert found.dtype == np.uint8
    assert np.abs(found - np.clip(expected, 0, 255)).max() < 0.51
    if beta == 0.3:
        assert expected.min() < 0 or expected.max() > 255


def test_without_a_window_only_the_mean_colour_changes(target):
    source, other = (np.clip(one, 100, 150) for one in pictures(30, 40))
    changed = FourierAdaptation(target, 0.0).apply(source, other).astype(float)
    np.testing.assert_allclose(changed.mean((0, 1)), other.mean((0, 1)), atol=0.51)
    assert np.abs(changed - source - (other.mean((0, 1)) - source.mean((0, 1)))).max() <= 0.51


def to_lab(bgr: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB under D65."""
    rgb = bgr[..., ::-1].astype(float) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    x, y, z = np.moveaxis(linear @ np.transpose(matrix) / [0.950456, 1, 1.088754], -1, 0)
    fx, fy, fz = (np.where(one > 0.008856, np.cbrt(one), 7.787 * one + 16 / 116) for one in (x, y, z))
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], -1)


def test_colours_have_the_targets_statistics(target):
    """Pictures whose colours stay in the gamut, so that nothing is clipped."""
    random = np.random.default_rng(1)
    source = random.integers(100, 140, (40, 50, 3), dtype=np.uint8)
    other = random.integers(90, 170, (40, 50, 3), dtype=np.uint8)
    found = ColourStatistics(target).apply(source, other)
    for measure in (np.mean, np.std):
        np.testing.assert_allclose(measure(to_lab(found), (0, 1)), measure(to_lab(other), (0, 1)), atol=0.1)
    own = to_lab(source)
    expected = (own - own.mean((0, 1))) / own.std((0, 1)) * to_lab(other).std((0, 1)) + to_lab(other).mean((0, 1))
    assert np.abs(to_lab(found) - expected).max() < 1  # within the rounding to 8 bits


def test_a_picture_of_one_colour_takes_the_mean_colour(target):
    plain, other = np.full((8, 9, 3), 90, np.uint8), np.full((8, 9, 3), 150, np.uint8)
    assert np.abs(ColourStatistics(target).apply(plain, other).astype(int) - 150).max() <= 1


@pytest.mark.parametrize('beta', [-0.1, 0.5, 1])
def test_a_window_beyond_the_picture_is_refused(target, beta):
    with pytest.raises(ValueError, match=r'FourierAdaptation: beta must be at least 0 and below \.5'):
        FourierAdaptation(target, beta)


@pytest.mark.parametrize('style', ['FourierAdaptation', 'ColourStatistics'])
def test_a_method_s_style_is_laid_into_the_source_and_drawn_by_position(target, style):
    """A sample is the same whatever was drawn before, so resuming is exact; another position has another look."""
    source = dict(target, pipeline=[dict(type='LoadImage'), dict(type='Resize', scale=(12, 9)), target['pipeline'][1]])
    config = Config(
        dict(
            model=dict(),
            source_style=dict(type=style),
            train_dataloader=dict(dataset=source),
            target_dataloader=dict(dataset=target),
        )
    )
    compose(config)
    compose(config)
    assert [step.type for step in config.train_dataloader.dataset.pipeline] == [
        *('LoadImage', 'Resize', style, 'PackSegInputs')
    ]
    assert 'source_style' not in config and config.target_dataloader.dataset == target
    plain, styled = (PositionedDataset(DATASETS.build(one), 5) for one in (source, config.train_dataloader.dataset))
    drawn = [styled[position]['inputs'].numpy() for position in range(12)]
    assert drawn[0].shape == (3, 9, 12)
    assert np.array_equal(drawn[7], styled[7]['inputs'].numpy())
    means = [one['inputs'].float().mean().item() for one in (styled[position] for position in range(12))]
    own = [plain[position]['inputs'].float().mean().item() for position in range(12)]
    assert max(abs(a - b) for a, b in zip(means, own, strict=True)) > 30
    by_picture = {}
    for position, mean in enumerate(means):
        by_picture.setdefault(styled.order.index(position), set()).add(round(mean, -1))
    assert max(map(len, by_picture.values())) > 1


def test_a_target_may_be_joined_and_repeated(target):
    wrapped = dict(type='ConcatDataset', datasets=[target, dict(type='RepeatDataset', times=2, dataset=target)])
    style = ColourStatistics(wrapped)
    assert style(dict(img=pictures(20, 30)[0]))['img'].shape == (20, 30, 3)
    first, second = style.target.datasets
    assert [type(step).__name__ for step in second.dataset.pipeline.transforms] == ['LoadImage', 'PackSegInputs']
    assert len(style.target) == 12 and len(first) == 4


def test_a_joined_source_has_the_style_in_each_part(target):
    joined = dict(type='ConcatDataset', datasets=[target, dict(type='RepeatDataset', times=2, dataset=target)])
    config = Config(
        dict(
            model=dict(),
            source_style=dict(type='ColourStatistics', target=dict(type='A')),
            train_dataloader=dict(dataset=joined),
        )
    )
    compose(config)
    first, second = config.train_dataloader.dataset.datasets
    for part in (first, second.dataset):
        assert part.pipeline[1] == dict(type='ColourStatistics', target=dict(type='A'))
