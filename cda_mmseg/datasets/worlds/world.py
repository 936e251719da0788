"""Built-in pairs of domains, and how they are written to disk."""

import json
import multiprocessing
import os
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from rich.progress import track

from .appearances import DASHCAM, GAME, SIMULATOR, Appearance
from .encodings import (
    ACDC,
    CITYSCAPES,
    DARK_ZURICH,
    GTAV,
    LABELED_CITYSCAPES,
    RURAL,
    SYNTHIA,
    URBAN,
    URBANSYN,
    Labels,
    Layout,
    write_picture,
)
from .layout import SceneStatistics, compose
from .render import render
from .scene import RASTER_SCALE, Scene
from .statistics import CITY_STREETS, GAME_STREETS, SIMULATOR_STREETS

MANIFEST = 'world.json'
GENERATOR_VERSION = 1
"""Part of the manifest; raise it whenever the same arguments give other pictures."""

SMALLEST_SIDE = 32  # pixels; below, objects vanish
LARGEST_SIDE = 8192
TASKS_PER_CHUNK = 8


@dataclass(frozen=True)
class Domain:
    """One side of a pair.

    Attributes:
        layout (Layout): Folder layout and encoding.
        statistics (SceneStatistics): What occurs in its scenes.
        appearance (Appearance): What they look like.
        streets (str): Name of the stream of scenes. Domains with the same name, split and statistics show the same
            scenes.
    """

    layout: Layout
    statistics: SceneStatistics
    appearance: Appearance
    streets: str

    def scene(self, seed: int, split: str, index: int, size: tuple[int, int]) -> Scene:
        """Compose a scene.

        Args:
            seed (int): Seed of the world.
            split (str): ``'train'`` or ``'val'``.
            index (int): Number of the scene.
            size (tuple[int, int]): Width and height in pixels.

        Returns:
            Scene: The scene, a function of the arguments alone.
        """
        # Python keeps the stream of a Random seeded by a string the same across versions and machines.
        choice = random.Random(f'{seed}/{self.streets}/{split}/{index}')
        return compose(self.statistics, *size, index, choice)

    def sample(self, seed: int, split: str, index: int, size: tuple[int, int]) -> tuple[np.ndarray, Labels]:
        """Make a picture and its labels.

        Args:
            seed (int): Seed of the world.
            split (str): ``'train'`` or ``'val'``.
            index (int): Number of the picture.
            size (tuple[int, int]): Width and height in pixels.

        Returns:
            tuple[np.ndarray, Labels]: Picture (height, width, 3), uint8, BGR, and its labels. A function of the
            arguments alone.
        """
        scene = self.scene(seed, split, index, size)
        raster = scene.rasterize()
        light = random.Random(f'{seed}/{self.layout.folder}/{split}/{index}/look').getrandbits(64)
        picture = render(scene, raster, self.appearance, np.random.Generator(np.random.PCG64(light)))
        shape = raster[RASTER_SCALE // 2 :: RASTER_SCALE, RASTER_SCALE // 2 :: RASTER_SCALE]
        return picture, Labels(scene.label[shape], scene.instance[shape], scene.material[shape])


@dataclass(frozen=True)
class Pair:
    """A source and a target domain.

    Attributes:
        source (Domain): Labeled domain.
        target (Domain): Domain whose training pictures have no labels.
    """

    source: Domain
    target: Domain


CITY = Domain(CITYSCAPES, CITY_STREETS, DASHCAM, 'city')
LABELED_CITY = Domain(LABELED_CITYSCAPES, CITY_STREETS, DASHCAM, 'city')
COUNTRY_VIEW, TOWN_VIEW = (
    Domain(RURAL, SIMULATOR_STREETS, SIMULATOR, 'country'),
    Domain(URBAN, CITY_STREETS, GAME, 'town'),
)

PAIRS = MappingProxyType(
    {
        'gta2city': Pair(Domain(GTAV, GAME_STREETS, GAME, 'game'), CITY),
        'synthia2city': Pair(Domain(SYNTHIA, SIMULATOR_STREETS, SIMULATOR, 'simulator'), CITY),
        'appearance': Pair(Domain(GTAV, CITY_STREETS, GAME, 'city'), CITY),
        'no_gap': Pair(Domain(GTAV, GAME_STREETS, GAME, 'game'), Domain(CITYSCAPES, GAME_STREETS, GAME, 'city')),
        'urbansyn2city': Pair(Domain(URBANSYN, GAME_STREETS, SIMULATOR, 'urban'), CITY),
        'city2darkzurich': Pair(LABELED_CITY, Domain(DARK_ZURICH, CITY_STREETS, SIMULATOR, 'night')),
        'city2acdc': Pair(LABELED_CITY, Domain(ACDC, CITY_STREETS, SIMULATOR, 'weather')),
        'rural2urban': Pair(COUNTRY_VIEW, TOWN_VIEW),
        'urban2rural': Pair(TOWN_VIEW, COUNTRY_VIEW),
    }
)
"""Built-in pairs. In ``appearance`` source and target show the same scenes, so only that differs; in ``no_gap``
only the scenes do. The pairs after them have folders and encodings of their data sets, but neither night nor weather
nor a view from above."""


def write_world(
    out: str | os.PathLike,
    pair: str = 'gta2city',
    size: tuple[int, int] = (256, 128),
    source: int = 500,
    target_train: int = 400,
    target_val: int = 100,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
) -> bool:
    """Write a pair of domains in the official layouts of the data sets it stands for.

    The files depend on ``pair``, ``size``, ``seed`` and their own number alone: a larger world begins with the files
    of a smaller one, and the number of workers changes nothing. The world is built beside ``out`` and moved there
    when it is complete, so ``out`` never holds half a world.

    Args:
        out (str | os.PathLike): Folder to write, for instance ``data/worlds/gta2city``.
        pair (str): Key of :data:`PAIRS`.
        size (tuple[int, int]): Width and height in pixels.
        source (int): Number of labeled source pairs.
        target_train (int): Number of unlabeled target pictures.
        target_val (int): Number of labeled target pairs, and of source pairs where that has a validation split; from
            50 on, all 19 classes occur.
        seed (int): Seed of the world.
        workers (int): Number of processes.
        overwrite (bool): Whether a world with other arguments in ``out`` is replaced.

    Returns:
        bool: True when files were written, False when ``out`` already held this very world.

    Raises:
        ValueError: When an argument is invalid, or ``out`` holds a world made with other arguments.
        FileExistsError: When ``out`` exists and holds something else.
    """
    if pair not in PAIRS:
        raise ValueError(f'pair must be one of {", ".join(PAIRS)}, got {pair!r}')
    if len(size) != 2 or not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise ValueError(f'size must be (width, height), each in {SMALLEST_SIDE}..{LARGEST_SIDE} pixels, got {size}')
    for name, number in (('source', source), ('target_train', target_train), ('target_val', target_val)):
        if number < 1:
            raise ValueError(f'{name} must be at least 1, got {number}')
    if workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')

    out = Path(out)
    manifest = dict(
        version=GENERATOR_VERSION,
        pair=pair,
        size=list(size),
        source=source,
        target_train=target_train,
        target_val=target_val,
        seed=seed,
    )
    found = _read_manifest(out)
    if found == manifest:
        return False
    if found is not None and not overwrite:
        changed = [f'{key} {found.get(key)} → {value}' for key, value in manifest.items() if found.get(key) != value]
        raise ValueError(
            f'{out} holds a world made with other arguments ({", ".join(changed)}); choose another folder or overwrite'
        )
    if found is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} exists and is no built-in world; choose another folder')

    staging = out.with_name(f'.{out.name}.incomplete')
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    counts = {('source', 'train'): source, ('target', 'train'): target_train, ('target', 'val'): target_val}
    if 'val' in PAIRS[pair].source.layout.splits:
        counts['source', 'val'] = target_val
    _write_files(staging, pair, counts, tuple(size), seed, workers)
    (staging / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n', encoding='utf-8')
    if out.exists():
        shutil.rmtree(out)
    staging.rename(out)
    return True


def _read_manifest(out: Path) -> dict | None:
    """Read which world a folder holds, None when it holds none."""
    try:
        return json.loads((out / MANIFEST).read_text(encoding='utf-8'))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ValueError(f'{out / MANIFEST}: not a readable manifest ({error}); remove the folder {out}') from error


Task = tuple[str, str, int]


def _write_files(
    root: Path,
    pair: str,
    counts: dict[tuple[str, str], int],
    size: tuple[int, int],
    seed: int,
    workers: int,
) -> None:
    """Write all files of a world, with a progress bar."""
    tasks = [(side, split, index) for (side, split), count in counts.items() for index in range(count)]
    for side, split, index in tasks:
        layout = getattr(PAIRS[pair], side).layout
        for path in layout.paths(root / layout.folder, split, index):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
    write = partial(_write_sample, root, pair, size, seed)
    for _ in track(_run(write, tasks, workers), 'Drawing pictures', len(tasks)):
        pass


def _run(write: partial, tasks: list[Task], workers: int) -> Iterator[None]:
    """Call ``write`` on every task, here or in other processes."""
    if workers == 1:
        yield from map(write, tasks)
        return
    # Not forked from here: a fork of a process that runs threads (torch, OpenCV) may hang.
    if 'forkserver' in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload([__name__])
    else:
        context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(write, tasks, chunksize=TASKS_PER_CHUNK)


def _write_sample(root: Path, pair: str, size: tuple[int, int], seed: int, task: Task) -> None:
    """Write one picture and, where the layout has one, its label."""
    side, split, index = task
    domain: Domain = getattr(PAIRS[pair], side)
    picture, labels = domain.sample(seed, split, index, size)
    picture_path, label_path = domain.layout.paths(root / domain.layout.folder, split, index)
    write_picture(picture_path, picture)
    if label_path is not None:
        domain.layout.write_label(label_path, labels)
