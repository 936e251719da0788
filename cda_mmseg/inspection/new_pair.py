"""Look at the folders of a source and a target, and write the configs that adapt between them."""

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat

import numpy as np
from mmseg.datasets import CityscapesDataset
from PIL import Image

from cda_mmseg.datasets.cache import with_progress
from cda_mmseg.datasets.label_ids import ID_MAPS, IGNORE
from cda_mmseg.datasets.transforms import LoadImage, LoadLabelIds
from cda_mmseg.engine.label_checks import one_opencv_thread
from cda_mmseg.inspection.folders import Folder
from cda_mmseg.inspection.pair import Examined, examine, guess_scheme
from cda_mmseg.visualization.class_colors import color_classes
from cda_mmseg.visualization.contact_sheet import contact_sheet

LOOKED_AT = 200  # files of a folder that are read, evenly spread; check_data.py reads all
SAMPLES = 3
HELD_OUT, MOST_HELD_OUT = 10, 100  # every tenth image of the source is scored and not trained on
LARGEST = (512, 1024)  # crop, height and width
MULTIPLE = 32  # of the coarsest map of most networks

BASE = '''"""{name}: {source} labelled images to {target} unlabelled ones, as tools/new_pair.py found them."""

# Two underscores: names of this file only, no keys of the config.
__classes = dict(
    classes={classes},
    palette={palette},
)
__labels = dict(type='LoadLabelIds', max_size_difference=0, id_map={id_map})
__resize = {resize}
__crop_and_flip = [
    *__resize,
    dict(type='RandomCrop', crop_size={crop}),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
__train_loader = dict(batch_size=4, num_workers=2, persistent_workers=True, sampler=dict(type='PositionSampler'))
__pack = dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain'))
__source = dict(
    type='BaseSegDataset',
    metainfo=__classes,
    img_suffix={source_suffix!r},
    seg_map_suffix={label_suffix!r},
    data_prefix=dict(img_path={source_images!r}, seg_map_path={source_labels!r}),
)

# Every tenth image of the source, 100 at most, is scored and not trained on. Neighbours in a drive look alike, so the
# score is one of pictures that training has nearly seen.
train_dataloader = dict(
    **__train_loader,
    dataset=dict(
        **__source,
        ann_file='{{{{ fileDirname }}}}/{name}_source_train.txt',
        pipeline=[dict(type='LoadImage'), __labels, *__crop_and_flip],
    ),
)
target_dataloader = dict(
    **__train_loader,
    dataset=dict(
        type='BaseSegDataset',
        metainfo=__classes,
        img_suffix={target_suffix!r},
        data_prefix=dict(img_path={target_images!r}),
        pipeline=[dict(type='LoadImage'), *__crop_and_flip],
    ),
)

# How mmseg's inferencer reads an image.
test_pipeline = [dict(type='LoadImageFromFile'), *__resize, dict(type='PackSegInputs')]
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BothDomainsDataset',
        pipeline=test_pipeline,
        datasets=[
            dict(
                type='BaseSegDataset',
                metainfo=__classes,
                {validated}
                test_mode=True,
                pipeline=[
                    dict(type='LoadImage'),
                    *__resize,
                    {target_labels}dict(type='TagDomain', domain='target'),
                    __pack,
                ],
            ),
            dict(
                **__source,
                ann_file='{{{{ fileDirname }}}}/{name}_source_val.txt',
                test_mode=True,
                pipeline=[dict(type='LoadImage'), *__resize, __labels, dict(type='TagDomain', domain='source'), __pack],
            ),
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='DomainIoUMetric')
test_evaluator = val_evaluator
'''
LEAF = '''"""{what} on {name}; for a larger network or a longer run take another base of configs/_base_."""

_base_ = [
    '_base_/models/fpn_efficientnet_lite0.py',  # network and its initial weights
    '_base_/datasets/{name}.py',  # source and target data
    '_base_/methods/{method}.py',  # {comment}
    '_base_/schedules/adam_poly_660.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

model = dict(
    data_preprocessor=dict(size={crop}),  # (height, width) of the crops
    decode_head=dict(num_classes={classes}),
)
'''
LEAVES = {
    'source_only': ('The baseline without adaptation', 'the baseline'),
    'self_training': ('Self-training', 'teacher and mixed images'),
}


def read_id_map(text: str | None, classes: Sequence[str]) -> str | dict[int, int]:
    """Read what ``--id-map`` says, by default that labels hold class numbers, and 255 where there is none.

    Args:
        text (str | None): Name of a scheme, or ``ID:CLASS`` separated by commas, a class by its name, its number or
            'ignore'.
        classes (Sequence[str]): Names of the classes.

    Raises:
        ValueError: If it cannot be understood.
    """
    if text is None:
        return {**{number: number for number in range(len(classes))}, IGNORE: IGNORE}
    if text in ID_MAPS and len(classes) == 19:
        return text
    numbers = {name: number for number, name in enumerate(classes)} | {'ignore': IGNORE}
    numbers |= {str(number): number for number in numbers.values()}
    id_map = {}
    for entry in text.split(','):
        label_id, _, name = entry.strip().partition(':')
        if not label_id.isdecimal() or name not in numbers:
            raise ValueError(
                f'--id-map: {entry!r} is not ID:CLASS with a class of --classes, its number or ignore, nor is all '
                f'of it one of {", ".join(ID_MAPS)} with 19 classes.'
            )
        if int(label_id) in id_map:
            raise ValueError(f'--id-map: {entry!r} gives the id {label_id} a second class; name each id once.')
        id_map[int(label_id)] = numbers[name]
    return {**id_map, IGNORE: id_map.get(IGNORE, IGNORE)}


def look_at(folder: Folder, id_map: str | Mapping[int, int], classes: int, workers: int) -> list[Examined]:
    """Read some pairs of a folder, evenly spread.

    Raises:
        ValueError: If one cannot be used.
    """
    steps = [LoadImage()]
    if folder.labels:
        steps.append(LoadLabelIds(id_map=id_map, max_size_difference=0))
    names = folder.names[:: -(-len(folder.names) // LOOKED_AT)]
    with one_opencv_thread():
        tasks = [(folder.info(name), steps, classes, IGNORE) for name in names]
        pairs = with_progress(examine, tasks, f'Looking at {folder.images}', workers)
    values: Counter = Counter()
    for examined in pairs:
        if examined.problem and not examined.foreign:
            raise ValueError(examined.problem)
        values.update(examined.values)
    foreign = [examined for examined in pairs if examined.foreign]
    if foreign:
        unknown = {value for examined in foreign for value in examined.foreign}
        listed = ', '.join(
            f'{value} ({number / values.total():.1%})' for value, number in values.most_common() if value in unknown
        )
        guess = guess_scheme(set(values), classes, maps_ids=True)
        raise ValueError(
            f'{len(foreign)} of {len(pairs)} labels such as {foreign[0].culprit} hold ids that are none of the '
            f'{classes} classes: {listed}. '
            + (f'A guess: {guess}. ' if guess else '')
            + 'Say with --id-map what they are.'
        )
    return pairs


def refuse_masks(folder: str, pixels: np.ndarray, classes: Sequence[str]) -> None:
    """Refuse labels whose 255 would be ignored though it is all that they mark.

    Args:
        folder (str): Where they are.
        pixels (np.ndarray): Pixels (256,) of each label.
        classes (Sequence[str]): Names of the classes, whose numbers the labels hold for all that was said.

    Raises:
        ValueError: If there is nothing but 0 and 255, and more than one class.
    """
    if len(classes) > 1 and np.flatnonzero(pixels).tolist() == [0, IGNORE]:
        raise ValueError(
            f'{folder} holds labels of 0 and 255 alone. If 255 is {classes[1]}, say --id-map 0:{classes[0]},255:'
            f'{classes[1]}; if it is to be ignored, --id-map 0:{classes[0]},255:ignore.'
        )


def crop_of(sizes: Sequence[tuple[int, int]]) -> tuple[bool, tuple[int, int]]:
    """Choose whether images are made smaller, and a crop (height, width) that all of them fill.

    Raises:
        ValueError: If an image is smaller than 32 pixels.
    """
    is_large = max(map(max, sizes)) > LARGEST[1]
    fitted = [
        (round(height * LARGEST[1] / max(width, height)), round(width * LARGEST[1] / max(width, height)))
        if is_large
        else (height, width)
        for width, height in sizes
    ]
    crop = tuple(
        min(most, min(size) // MULTIPLE * MULTIPLE)
        for most, size in zip(LARGEST, zip(*fitted, strict=True), strict=True)
    )
    if not all(crop):
        raise ValueError(f'an image has {min(sizes)} pixels; both sides must have at least {MULTIPLE}.')
    return is_large, crop


def palette_of(classes: Sequence[str]) -> list[list[int]]:
    """Give classes the colours that they have in Cityscapes, and the others colours of their own."""
    meta = CityscapesDataset.METAINFO
    known = dict(zip(meta['classes'], meta['palette'], strict=True))
    hues = [number / max(len(classes), 1) for number in range(len(classes))]
    own = [[round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.6, 0.95)] for hue in hues]
    return [list(known.get(name, color)) for name, color in zip(classes, own, strict=True)]


def write_pair(
    name: str,
    classes: Sequence[str],
    id_map: str | Mapping[int, int],
    source: Folder,
    target: Folder,
    validated: Folder | None,
    sizes: Sequence[tuple[int, int]],
    configs: Path,
) -> list[Path]:
    """Write the data base, its lists and the leaves.

    Args:
        name (str): Name of the pair.
        classes (Sequence[str]): Names of the classes.
        id_map (str | Mapping[int, int]): Ids of the labels to classes.
        source (Folder): Labelled images.
        target (Folder): Images to train on.
        validated (Folder | None): Labelled images of the target to score; without, some of ``target``.
        sizes (Sequence[tuple[int, int]]): Widths and heights that occur.
        configs (Path): Folder of the configs.

    Returns:
        list[Path]: The leaves.

    Raises:
        FileExistsError: If there is a pair of this name.
        ValueError: If images are too small, or fewer than two of the source.
    """
    is_large, crop = crop_of(sizes)
    base = configs / '_base_' / 'datasets'
    leaves = {method: configs / f'{method}_{name}.py' for method in LEAVES}
    for path in (base / f'{name}.py', *leaves.values()):
        if path.exists():
            raise FileExistsError(f'{path} exists. Choose another --name, or remove it.')
    if len(source.names) < 2:
        raise ValueError(f'{source.images} holds one image; one is trained on and another scored.')
    step = max(HELD_OUT, -(-len(source.names) // MOST_HELD_OUT))
    held_out = source.names[step - 1 :: step] or source.names[-1:]
    lists = dict(source_train=[one for one in source.names if one not in set(held_out)], source_val=held_out)
    if validated is None:
        lists['target_val'] = target.names[:: -(-len(target.names) // MOST_HELD_OUT)]
        where = [
            f'img_suffix={target.image_suffix!r},',
            f'data_prefix=dict(img_path={target.images!r}),  # no labels: signals that need none',
            f"ann_file='{{{{ fileDirname }}}}/{name}_target_val.txt',",
        ]
    else:
        where = [
            f'img_suffix={validated.image_suffix!r},',
            f'seg_map_suffix={validated.label_suffix!r},',
            f'data_prefix=dict(img_path={validated.images!r}, seg_map_path={validated.labels!r}),',
        ]
    for part, names in lists.items():
        (base / f'{name}_{part}.txt').write_text(''.join(f'{one}\n' for one in names), encoding='utf-8')
    text = BASE.format(
        name=name,
        source=len(source.names),
        target=len(target.names),
        classes=repr(tuple(classes)),
        palette=palette_of(classes),
        id_map=pformat(id_map, compact=True) if isinstance(id_map, dict) else repr(id_map),
        resize="[dict(type='Resize', scale=(1024, 1024), keep_ratio=True)]" if is_large else '[]',
        crop=crop,
        source_suffix=source.image_suffix,
        label_suffix=source.label_suffix,
        source_images=source.images,
        source_labels=source.labels,
        target_suffix=target.image_suffix,
        target_images=target.images,
        validated=('\n' + ' ' * 16).join(where),
        target_labels='' if validated is None else '__labels,\n' + ' ' * 20,
    )
    (base / f'{name}.py').write_text(text, encoding='utf-8')
    for method, path in leaves.items():
        what, comment = LEAVES[method]
        leaf = LEAF.format(name=name, what=what, method=method, comment=comment, crop=crop, classes=len(classes))
        path.write_text(leaf, encoding='utf-8')
    return list(leaves.values())


def sample_sheet(folders: Mapping[str, Folder], id_map: str | Mapping[int, int], classes: Sequence[str]) -> Image.Image:
    """Show three pairs of each folder, evenly spread."""
    palette, rows = palette_of(classes), []
    labels = LoadLabelIds(id_map=id_map, max_size_difference=0)
    for role, folder in folders.items():
        for name in folder.names[:: -(-len(folder.names) // SAMPLES)]:
            results = LoadImage()(folder.info(name))
            pictures = [np.ascontiguousarray(results['img'][..., ::-1])]
            if folder.labels:
                pictures.append(color_classes(labels(results | dict(seg_fields=[]))['gt_seg_map'], palette))
            rows.append((f'{role}: {name}', pictures))
    return contact_sheet(rows, dict(zip(classes, palette, strict=True)))
