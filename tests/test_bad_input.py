"""Bad input: what happens to it, and the message that it gets. docs/reliability.md holds the same table.

Print the table with ``python -m tests.test_bad_input``.
"""

import os
import shutil
import socket
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmseg.datasets import CityscapesDataset
from mmseg.registry import MODELS
from PIL import Image

from cda_mmseg import launch
from cda_mmseg.datasets.label_ids import CITYSCAPES_IDS
from cda_mmseg.datasets.source_dataset import monitor_sample
from cda_mmseg.engine import PositionedDataset
from cda_mmseg.engine.composition import read_config
from cda_mmseg.engine.data_checks import build_training_set
from cda_mmseg.engine.runner import LONGEST_TMPDIR
from cda_mmseg.utils.arguments import UsageError
from cda_mmseg.utils.loading import (
    CheckpointError,
    UnreadableCheckpointError,
    UnresumableCheckpointError,
    UntrustedCheckpointError,
    install_safe_loader,
)
from tests.config_text import plain_text
from tests.tool_processes import ROOT, SMOKE

WORLD = Path('data/worlds/smoke_gta2city')
IMAGES, LABELS = WORLD / 'gtav' / 'images', WORLD / 'gtav' / 'labels'
TARGET = WORLD / 'cityscapes' / 'leftImg8bit' / 'train'


@dataclass
class Case:
    """One kind of bad input.

    Attributes:
        name: What is wrong.
        damage: Spoils the files below the current folder, or the config.
        stage: What is then done.
        error: What is raised; None if the input is used.
        message: A part of the message, or what happens to input that is used.
    """

    name: str
    damage: Callable[[Config], None]
    stage: Callable[[Config], None]
    error: type[Exception] | None
    message: str


def first(folder: Path, pattern: str = '*.png') -> Path:
    return sorted(folder.rglob(pattern))[0]


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def halve(path: Path) -> None:
    write(path, path.read_bytes()[: path.stat().st_size // 2])


def convert(path: Path, mode: str) -> None:
    Image.open(path).convert(mode).save(path)


def one_pixel(path: Path) -> None:
    Image.open(path).crop((0, 0, 1, 1)).save(path)


def options(**values: object) -> Callable[[Config], None]:
    """Change keys of the config, dots as double underscores."""
    return lambda config: config.merge_from_dict({key.replace('__', '.'): value for key, value in values.items()})


def set_id_map(config: Config) -> None:
    id_map = {**dict.fromkeys(range(256), 255), 7: 20}
    config.train_dataloader.dataset.pipeline[1].id_map = id_map


def make_target_the_source(config: Config) -> None:
    (WORLD / 'again').symlink_to(IMAGES.resolve())
    config.target_dataloader.dataset.update(data_root=str(WORLD), data_prefix=dict(img_path='again'), img_suffix='.png')


def ignore_everything(config: Config) -> None:
    for path in LABELS.glob('*.png'):
        cv2.imwrite(str(path), np.zeros((32, 64), np.uint8))


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    write(path, bytes(data))


def convert_to_train_ids(config: Config) -> None:
    table = np.array([CITYSCAPES_IDS.get(label_id, 255) for label_id in range(256)], np.uint8)
    for path in LABELS.glob('*.png'):
        Image.fromarray(table[np.asarray(Image.open(path))]).save(path)


def move_step(pipeline: str, name: str, place: int) -> Callable[[Config], None]:
    """Give a step of a pipeline another place, and every ``Resize`` of it a size that changes pictures."""

    def change(config: Config) -> None:
        steps = config
        for part in pipeline.split('.'):
            steps = steps[int(part)] if part.isdecimal() else steps[part]
        step = next(step for step in steps if step.type == name)
        steps.remove(step)
        steps.insert(place, step)
        for step in steps:
            if step.type == 'Resize':
                step.scale = (32, 32)

    return change


def replace_by(path: Callable[[], Path], make: Callable[[Path], None]) -> Callable[[Config], None]:
    def damage(config: Config) -> None:
        found = path()
        found.unlink()
        make(found)

    return damage


def link_to_above(config: Config) -> None:
    (TARGET / 'again').symlink_to(TARGET.resolve())


def save_twelve_bits(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 16)


def turn_by_exif(path: Path) -> None:
    image, exif = Image.open(path), Image.Exif()
    exif[0x0112] = 3
    image.save(path, exif=exif)


def claim_size(path: Path) -> None:
    """Let a PNG's header claim 60000×60000 pixels, with the right check sum."""
    data = bytearray(path.read_bytes())
    data[16:24] = (60000).to_bytes(4, 'big') * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, 'big')
    write(path, bytes(data))


def make_strip(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((1, 1024, 3), np.uint8))


def write_predictions_of_one_name(config: Config) -> None:
    for kind in ('leftImg8bit', 'gtFine'):
        folder = first(WORLD / 'cityscapes' / kind / 'val').parent
        shutil.copytree(folder, folder.with_name('again'))
    config.val_evaluator.output_dir = 'predictions'


def read_split(content: bytes) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        (WORLD / 'gtav' / 'split.txt').write_bytes(content)
        dataset = config.train_dataloader.dataset
        for key in ('holdout', 'part'):
            dataset.pop(key, None)
        dataset.update(
            type='BaseSegDataset',
            ann_file='split.txt',
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            img_suffix='.png',
            metainfo=dict(classes=CityscapesDataset.METAINFO['classes']),
        )

    return change


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def nothing(config: Config) -> None:
    """Leave everything as it is: the command line is at fault."""


def truncated_weights(config: Config) -> None:
    save_weights({'state_dict': {}})(config)
    halve(Path('weights.pth'))


def loss(**changes: object) -> Callable[[Config], None]:
    return options(**{f'model__decode_head__loss_decode__main__{key}': value for key, value in changes.items()})


def save_weights(weights: object) -> Callable[[Config], None]:
    def damage(config: Config) -> None:
        torch.save(weights, 'weights.pth')
        config.load_from = 'weights.pth'

    return damage


def save_run(**meta: object) -> Callable[[Config], None]:
    hub = dict(log_scalars={}, runtime_info={}, resumed_keys={})
    return save_weights(dict(meta=dict(epoch=0) | meta, state_dict={}, message_hub=hub, optimizer={}))


def pipe_for_weights(config: Config) -> None:
    os.mkfifo('weights.pth')
    config.load_from = 'weights.pth'


def initial_weights(config: Config) -> None:
    torch.save({'features.0.weight': torch.zeros(8, 3, 3, 3), 'features.0.bias': torch.zeros(8)}, 'weights.pth')
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='weights.pth')


def plain_segmentor(config: Config) -> None:
    config.model.type = 'EncoderDecoder'
    for key in ('adaptations', 'execution'):
        config.model.pop(key, None)


def write_load_from(data: bytes) -> Callable[[Config], None]:
    def damage(config: Config) -> None:
        write(Path('weights.pth'), data)
        config.load_from = 'weights.pth'

    return damage


def smoke_config() -> Config:
    config = read_config(SMOKE)
    for loader in ('train', 'target', 'val', 'test'):
        config[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    config.train_cfg.update(max_iters=1, val_interval=10)
    return config


def read_source(config: Config) -> None:
    init_default_scope('mmseg')
    dataset = PositionedDataset(build_training_set(config.train_dataloader.dataset, 'train_dataloader.dataset'), seed=0)
    for position in range(len(dataset)):
        sample = dataset[position]
        assert sample['inputs'].shape == (3, 32, 64) and sample['data_samples'].gt_sem_seg.data.shape == (1, 32, 64)


def build_model(config: Config) -> None:
    init_default_scope('mmseg')
    MODELS.build(config.model)


def run(config: Config) -> None:
    """Take the steps of tools/train.py."""
    Path('config.py').write_text(plain_text(config))
    install_safe_loader()
    config = launch.load_config('config.py', None, 'run', 'none')
    launch.build_runner(config).train()


def run_an_epoch(config: Config) -> None:
    config.train_cfg.max_iters = 8
    run(config)


def resume(config: Config) -> None:
    """Go on from weights.pth, as ``--resume weights.pth`` does."""
    launch.resume_point(config, config.load_from, trusted=False)


def misspell_option(config: Config) -> None:
    """Read the command line ``--cfg-options model.bakbone.depth=19``."""
    launch.load_config(SMOKE, {'model.bakbone.depth': 19}, 'run', 'none')


def forget_the_value(config: Config) -> None:
    """Read the command line ``--cfg-options model.backbone.depth 19``."""
    launch.read_options(['model.backbone.depth', '19'])


def forget_half_a_bracket(config: Config) -> None:
    """Read the command line ``--cfg-options model.backbone.out_indices=[2,3``."""
    launch.read_options(['model.backbone.out_indices=[2,3'])


def replace_a_branch(config: Config) -> None:
    """Read the command line ``--cfg-options source_loss=ConservativeLoss``."""
    launch.load_config(SMOKE, {'source_loss': 'ConservativeLoss'}, 'run', 'none')


def option_below_a_value(config: Config) -> None:
    """Read the command line ``--cfg-options train_cfg.max_iters.end.at=4``."""
    launch.load_config(SMOKE, {'train_cfg.max_iters.end.at': 4}, 'run', 'none')


def option_beyond_a_list(config: Config) -> None:
    """Read the command line ``--cfg-options train_dataloader.dataset.pipeline.last=None``."""
    launch.load_config(SMOKE, {'train_dataloader.dataset.pipeline.last': None}, 'run', 'none')


def misspell_config(config: Config) -> None:
    """Read a config that is not there."""
    launch.load_config('configs/cl_gta2cty.py', None, 'run', 'none')


AUXILIARY_HEAD = dict(type='FCNHead', in_channels=32, in_index=1, channels=8, num_convs=1, num_classes=19)

CASES = [
    # folders
    Case(
        'source root missing',
        lambda config: shutil.rmtree(WORLD / 'gtav'),
        read_source,
        FileNotFoundError,
        f'GTAVDataset: no folder {IMAGES}. Expected layout:',
    ),
    Case(
        'source folder empty',
        lambda config: empty(IMAGES),
        read_source,
        ValueError,
        f'GTAVDataset: no *.png image in {IMAGES}. Expected layout:',
    ),
    Case(
        'image without label',
        lambda config: first(LABELS).unlink(),
        read_source,
        FileNotFoundError,
        f'1 of 8 images have no label in {LABELS}: 00001.png',
    ),
    Case(
        'target root missing',
        lambda config: shutil.rmtree(TARGET),
        run,
        FileNotFoundError,
        f'target_dataloader.dataset cannot read {TARGET} (No such file or directory). Check its data_root',
    ),
    Case(
        'target folder empty',
        lambda config: empty(TARGET),
        run,
        ValueError,
        "target_dataloader.dataset finds no images: data_root='data/worlds/smoke_gta2city/cityscapes', data_prefix=",
    ),
    Case(
        'target equal to the source',
        make_target_the_source,
        run,
        ValueError,
        'The target is the source: all 8 images of target_dataloader.dataset',
    ),
    Case(
        'suffixes in capitals',
        lambda config: first(IMAGES).rename(first(IMAGES).with_suffix('.PNG')),
        read_source,
        ValueError,
        "would be left out because they end in '.PNG' instead of img_suffix='.png', such as 00001.PNG.",
    ),
    Case(
        'FIFO among the images',
        replace_by(lambda: first(IMAGES), os.mkfifo),
        read_source,
        ValueError,
        f'1 things in {IMAGES} are called like images but are no files: 00001.png (FIFO).',
    ),
    Case(
        'FIFO among the labels',
        replace_by(lambda: first(LABELS), os.mkfifo),
        read_source,
        ValueError,
        f'1 things in {LABELS} are called like labels but are no files: 00001.png (FIFO).',
    ),
    Case(
        'image that is a dangling link',
        replace_by(lambda: first(TARGET), lambda path: path.symlink_to('nowhere')),
        run,
        ValueError,
        '_leftImg8bit.png (link that leads nowhere). Replace or remove them.',
    ),
    Case(
        'link to a folder above',
        link_to_above,
        run,
        ValueError,
        f'{TARGET}/again is a link to a folder that it lies in, so its files would be listed again and again.',
    ),
    Case(
        'blank line in a split file',
        read_split(b'00001\n\n'),
        read_source,
        ValueError,
        'split.txt, line 2 is blank; remove it.',
    ),
    Case(
        'suffix in a split file',
        read_split(b'00001.png\n'),
        read_source,
        ValueError,
        "split.txt, line 1: '00001.png' has the suffix already, which img_suffix='.png' adds; leave it out.",
    ),
    Case(
        'byte order mark in a split file',
        read_split(b'\xef\xbb\xbf00001\n'),
        read_source,
        ValueError,
        'split.txt begins with a byte order mark; save it as UTF-8 without.',
    ),
    Case(
        'missing image in a split file',
        read_split(b'00001\n99999\n'),
        read_source,
        ValueError,
        'split.txt, line 2: there is no image data/worlds/smoke_gta2city/gtav/images/99999.png.',
    ),
    # labels
    Case(
        'split file that is a folder',
        lambda config: (read_split(b'')(config), config.train_dataloader.dataset.update(ann_file='images')),
        read_source,
        ValueError,
        'train_dataloader.dataset.ann_file=data/worlds/smoke_gta2city/gtav/images is no file.',
    ),
    Case(
        'label of another size',
        lambda config: one_pixel(first(LABELS)),
        read_source,
        ValueError,
        'the label is 1×1 but its image 64×32 (width × height); at most 16 pixels of difference are fitted',
    ),
    Case(
        '16-bit label read as 8-bit',
        lambda config: cv2.imwrite(str(first(LABELS)), np.zeros((32, 64, 3), np.uint16)),
        read_source,
        ValueError,
        "needs 8 bits per pixel; for SYNTHIA labels use LoadLabelIds(encoding='red16', id_map='synthia')",
    ),
    Case(
        '8-bit label read as 16-bit',
        options(train_dataloader__dataset__pipeline__1__encoding='red16'),
        read_source,
        ValueError,
        'needs 16-bit RGB with the id in the red channel (SYNTHIA GT/LABELS).',
    ),
    Case(
        'coloured instead of indexed label',
        lambda config: convert(first(LABELS), 'RGB'),
        read_source,
        ValueError,
        'needs the id itself, as palette index or grey value: this is a coloured visualisation.',
    ),
    Case(
        'label ids outside the map',
        lambda config: cv2.imwrite(str(first(LABELS)), np.full((32, 64), 99, np.uint8)),
        read_source,
        ValueError,
        "label ids 99 are not defined by the 'cityscapes' id_map",
    ),
    Case(
        'truncated label',
        lambda config: halve(first(LABELS)),
        read_source,
        ValueError,
        'truncated PNG file; fetch it again',
    ),
    Case(
        'zero-byte label',
        lambda config: write(first(LABELS), b''),
        read_source,
        ValueError,
        'empty label file (0 bytes); fetch it again',
    ),
    Case(
        'label that is a JPEG',
        lambda config: write(first(LABELS), b'\xff\xd8\xff\xe0' + bytes(100)),
        read_source,
        ValueError,
        'not a PNG file, or cut off in its header; label ids are read from PNGs only',
    ),
    Case(
        'classes beyond those of the data set',
        set_id_map,
        read_source,
        ValueError,
        'holds the class 20, but the data set has the classes 0 to 18. Check the id_map',
    ),
    Case('labels ignored throughout', ignore_everything, run, None, 'used: the segmentation loss is 0'),
    Case(
        'flipped bit in a label',
        lambda config: flip_bit(first(LABELS)),
        read_source,
        ValueError,
        'damaged PNG file (the check sum of its IDAT chunk at byte',
    ),
    Case(
        'class numbers read as label ids',
        convert_to_train_ids,
        run,
        ValueError,
        'the labels look like class numbers already, but LoadLabelIds reads them as label ids',
    ),
    Case(
        "validation's order of steps in training",
        move_step('train_dataloader.dataset.pipeline', 'Resize', 1),
        run,
        ValueError,
        'the pipeline changes the image before it reads the label (Resize before LoadLabelIds)',
    ),
    Case(
        "training's order of steps in validation",
        move_step('val_dataloader.dataset.datasets.1.pipeline', 'Resize', 2),
        run,
        ValueError,
        '64x32. Let LoadLabelIds stand after Resize; the other order is for training.',
    ),
    # images
    Case(
        'truncated image',
        lambda config: halve(first(IMAGES)),
        read_source,
        ValueError,
        'damaged, truncated or no image file (OpenCV cannot decode it); fetch it again',
    ),
    Case(
        'zero-byte image',
        lambda config: write(first(IMAGES), b''),
        read_source,
        ValueError,
        'empty image file (0 bytes); fetch it again',
    ),
    Case(
        'text file for an image',
        lambda config: write(first(IMAGES), b'<html>404</html>'),
        read_source,
        ValueError,
        'damaged, truncated or no image file (OpenCV cannot decode it); fetch it again',
    ),
    Case(
        '12-bit image in 16 bits',
        lambda config: save_twelve_bits(first(IMAGES)),
        read_source,
        ValueError,
        'would be nearly black. Set the bits that count, such as LoadImage(bits=12) for a 12-bit camera',
    ),
    Case(
        'labelled image that is shown turned',
        lambda config: turn_by_exif(first(IMAGES)),
        read_source,
        ValueError,
        'its EXIF orientation is 3, so it is shown turned, but labels are not. Save the image upright',
    ),
    Case(
        'decompression bomb',
        lambda config: claim_size(first(IMAGES)),
        read_source,
        ValueError,
        'its header claims 60000×60000 pixels, more than 178956970',
    ),
    Case(
        'image too narrow to be resized',
        lambda config: make_strip(first(TARGET)),
        run_an_epoch,
        ValueError,
        'or its label cannot be used for training: OpenCV',
    ),
    Case('grey image', lambda config: convert(first(IMAGES), 'L'), read_source, None, 'used: three equal channels'),
    Case('RGBA image', lambda config: convert(first(IMAGES), 'RGBA'), read_source, None, 'used: without its alpha'),
    Case(
        'one-pixel image',
        lambda config: one_pixel(first(IMAGES)),
        read_source,
        ValueError,
        'the label is 64×32 but its image 1×1 (width × height); at most 16 pixels of difference are fitted',
    ),
    Case(
        'one-pixel image with a one-pixel label',
        lambda config: (one_pixel(first(IMAGES)), one_pixel(first(LABELS))),
        read_source,
        None,
        'used: enlarged to the scale of the config',
    ),
    Case(
        'crop larger than the image',
        options(
            train_dataloader__dataset__pipeline__3__crop_size=(96, 160),
            target_dataloader__dataset__pipeline__2__crop_size=(96, 160),
            model__data_preprocessor__size=(96, 160),
        ),
        run,
        None,
        'used: padded with the mean colour and ignored labels, on the right and at the bottom',
    ),
    # classes, network and losses
    Case(
        'classes of head and data differ',
        options(model__decode_head__num_classes=16),
        run,
        ValueError,
        'model.decode_head.num_classes is 16, but train_dataloader.dataset has 19 classes: road, sidewalk,',
    ),
    Case(
        'classes of an auxiliary head',
        options(
            model__auxiliary_head=dict(
                type='FCNHead', in_channels=32, in_index=1, channels=8, num_convs=1, num_classes=6, norm_cfg=None
            )
        ),
        run,
        ValueError,
        'model.auxiliary_head.num_classes is 6, but train_dataloader.dataset has 19 classes: road, sidewalk,',
    ),
    Case(
        'class weights for other classes',
        loss(class_weight=[1.0, 2.0]),  # in force after the warm start
        run,
        ValueError,
        'model.decode_head.loss_decode: ConservativeLoss.class_weight holds 2 weights, but train_dataloader.dataset',
    ),
    Case(
        'one weight for all classes',
        loss(class_weight=2.0),
        build_model,
        ValueError,
        'ConservativeLoss: class_weight must be a list, a weight per class, but it is 2.0.',
    ),
    Case(
        'unknown class names',
        options(train_dataloader__dataset__metainfo=dict(classes=('road', 'kangaroo'))),
        run,
        ValueError,
        "new classes ('road', 'kangaroo') is not a subset of classes ('road', 'sidewalk',",
    ),
    Case(
        'base ≤ 1',
        loss(base=1.0),
        build_model,
        ValueError,
        'ConservativeLoss: base must be a finite number and greater than 1, but it is 1.0.',
    ),
    Case(
        'λ = NaN',
        loss(loss_weight=float('nan')),
        build_model,
        ValueError,
        'ConservativeLoss: loss_weight must be a finite number and at least 0, but it is nan.',
    ),
    Case(
        'negative weight of a loss',
        options(model__adaptations__image_adversary__encoder_adversarial_weight=-1.0),
        build_model,
        ValueError,
        'ImageAdversary: encoder_adversarial_weight must be a finite number and at least 0, but it is -1.0.',
    ),
    Case(
        'head of another kind',
        options(
            model__decode_head=dict(
                type='OCRHead', in_channels=16, in_index=2, channels=8, ocr_channels=8, num_classes=19, _delete_=True
            )
        ),
        build_model,
        TypeError,
        'does not compute its loss as loss_by_feat(forward(x))',
    ),
    Case(
        'crop too small for the discriminator',
        options(
            train_dataloader__dataset__pipeline__3__crop_size=(8, 8),
            target_dataloader__dataset__pipeline__2__crop_size=(8, 8),
            model__data_preprocessor__size=(8, 8),
        ),
        run,
        ValueError,
        'are too small: with num_layers=',
    ),
    # configs
    Case(
        'key of the config that nobody reads',
        options(custom_hoks=[], env_cfg__cudnn_bench=True),
        run,
        None,
        'used, with a warning: config.py has keys that nobody reads, so they change nothing: custom_hoks (did you mean '
        'custom_hooks?), env_cfg.cudnn_bench (did you mean cudnn_benchmark?)',
    ),
    Case(
        'misspelt argument',
        options(model__backbone__dephth=16),
        build_model,
        TypeError,
        'VGG does not take dephth. It takes depth, base_channels, fc_channels,',
    ),
    Case(
        'misspelt argument of the loop',
        options(train_cfg__max_iter=16),
        run,
        TypeError,
        "UDATrainLoop.__init__() got an unexpected keyword argument 'max_iter'",
    ),
    Case(
        'unknown type',
        options(model__backbone__type='VGGG'),
        build_model,
        KeyError,
        'VGGG is not in the mmseg::model registry.',
    ),
    Case(
        'optimizer of an unknown player',
        options(optim_wrapper__critic=dict(type='OptimWrapper')),
        run,
        ValueError,
        "optim_wrapper has keys ['critic'], but UDASegmentor has only ['discriminator',",
    ),
    Case(
        'optimizer that does not exist',
        options(optim_wrapper__encoder__optimizer__type='Adm'),
        run,
        KeyError,
        "optim_wrapper.encoder.optimizer.type: there is no optimizer 'Adm'.",
    ),
    Case(
        'learning rate below 0',
        options(optim_wrapper__encoder__optimizer__lr=-0.1),
        run,
        ValueError,
        'optim_wrapper.encoder: Invalid learning rate: -0.1',
    ),
    Case(
        'seed that NumPy does not take',
        options(randomness__seed=-1),
        run,
        ValueError,
        'randomness.seed must be an integer from 0 to 2**32 - 1, got -1.',
    ),
    Case(
        'misspelt key of the randomness',
        options(randomness__sed=1),
        run,
        TypeError,
        'randomness does not take sed. It takes seed, diff_rank_seed, deterministic.',
    ),
    Case(
        'batches of nothing',
        options(target_dataloader__batch_size=0),
        run,
        ValueError,
        'target_dataloader.batch_size must be an integer of at least 1, got 0.',
    ),
    Case(
        'sampler of another loop',
        options(train_dataloader__sampler=dict(type='InfiniteSampler', _delete_=True)),
        run,
        ValueError,
        "train_dataloader.sampler must be dict(type='PositionSampler')",
    ),
    Case(
        'no validation by val_interval=0',
        options(train_cfg__val_interval=0),
        run,
        ValueError,
        'train_cfg.val_interval must be an integer of at least 1, got 0. For a run without validation set',
    ),
    Case(
        'no validation by val_interval=-1',
        options(train_cfg__val_interval=-1),
        run,
        ValueError,
        'train_cfg.val_interval must be an integer of at least 1, got -1.',
    ),
    Case(
        'persistent workers where there are none',
        options(val_dataloader__persistent_workers=True),
        run,
        ValueError,
        'val_dataloader: num_workers=0 has no workers that persistent_workers=True could keep.',
    ),
    Case(
        'sliding windows without a size',
        options(model__test_cfg=dict(mode='slide')),
        run,
        ValueError,
        "model.test_cfg.mode='slide' needs the windows' size and distance in pixels, (height, width):",
    ),
    Case(
        'gaps between sliding windows',
        options(model__test_cfg=dict(mode='slide', crop_size=(16, 16), stride=(16, 24))),
        run,
        ValueError,
        'model.test_cfg.stride=(16, 24) must be positive and no larger than crop_size=(16, 16)',
    ),
    Case(
        'unknown mode of prediction',
        options(model__test_cfg=dict(mode='whle')),
        run,
        ValueError,
        "model.test_cfg.mode must be 'whole' or 'slide', got 'whle'.",
    ),
    Case(
        "mmengine's one optimizer for our segmentor",
        options(
            model__adaptations=None,
            param_scheduler=[],
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1), _delete_=True),
        ),
        run,
        TypeError,
        'optim_wrapper must name the player of each optimizer, also where there is one: optim_wrapper=dict(_delete_=Tr',
    ),
    Case(
        'one optimizer for several players',
        options(
            model__adaptations__image_adversary__optimizers=dict(generator=dict(type='OptimWrapper')),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1), _delete_=True),
        ),
        run,
        TypeError,
        'The adaptations bring players with optimizers of their own (generator), so optim_wrapper must name its',
    ),
    Case(
        'one list of schedules for several players',
        options(
            model__adaptations__image_adversary__optimizers=dict(generator=dict(type='OptimWrapper')),
            param_scheduler=[dict(type='MultiStepLR', by_epoch=False, milestones=[2])],
        ),
        run,
        TypeError,
        'param_scheduler does not say which player it is meant for: write param_scheduler=dict(_delete_=True, encoder=',
    ),
    Case(
        'schedule that counts epochs',
        options(param_scheduler__encoder=[dict(type='MultiStepLR', milestones=[2])]),
        run,
        ValueError,
        'param_scheduler.encoder[0] (MultiStepLR) would never change anything: it counts epochs, and this run counts',
    ),
    Case(
        'schedule of an unknown player',
        options(param_scheduler__critic=[]),
        run,
        ValueError,
        "param_scheduler has keys ['critic'], but UDASegmentor has only ['discriminator',",
    ),
    Case(
        "our segmentor in mmengine's loop",
        options(
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=1, _delete_=True),
            train_dataloader__sampler=dict(type='InfiniteSampler', _delete_=True),
        ),
        run,
        TypeError,
        "UDASegmentor needs a batch per domain and an optimizer per player: set train_cfg.type='UDATrainLoop'",
    ),
    Case(
        "mmseg's segmentor in our loop",
        plain_segmentor,
        run,
        TypeError,
        "UDATrainLoop trains a UDASegmentor, but model.type is EncoderDecoder. Set model.type='UDASegmentor'",
    ),
    Case(
        "mmseg's metric for several domains",
        options(val_evaluator=dict(type='IoUMetric', _delete_=True)),
        run,
        ValueError,
        'val_evaluator: IoUMetric would give one score for the pixels of all domains (source, target).',
    ),
    Case(
        'predictions of two images of one name',
        write_predictions_of_one_name,
        run,
        ValueError,
        "Give their data sets domains of their own, such as TagDomain(domain='target_a'), or rename the images.",
    ),
    Case(
        'unknown way to treat damaged files',
        options(train_cfg__on_error='ignore'),
        run,
        ValueError,
        "train_cfg.on_error must be 'raise' or 'skip', got 'ignore'.",
    ),
    Case(
        'labels that the target would be read with',
        lambda config: config.target_dataloader.dataset.pipeline.insert(1, dict(type='LoadAnnotations')),
        run,
        ValueError,
        'target_dataloader.dataset.pipeline reads labels (LoadAnnotations), but the target is trained on without',
    ),
    Case(
        'samples that are not packed',
        lambda config: config.train_dataloader.dataset.pipeline.pop(),
        run,
        TypeError,
        "training data: its pipeline must end with dict(type='PackSegInputs').",
    ),
    Case(
        'scored samples that are not packed',
        lambda config: config.val_dataloader.dataset.datasets[1].pipeline.pop(),
        run,
        TypeError,
        "val_dataloader.dataset.datasets.1: its pipeline must end with dict(type='PackSegInputs').",
    ),
    Case(
        'scored samples of no domain',
        lambda config: config.val_dataloader.dataset.datasets[0].pipeline[-1].pop('meta_keys'),
        run,
        ValueError,
        "val_dataloader.dataset.datasets.0: its samples do not say their domain. Its pipeline needs dict(type='TagDom",
    ),
    Case(
        'nothing to score',
        options(val_dataloader__dataset__datasets=[]),
        run,
        ValueError,
        'BothDomainsDataset: datasets is empty, so there is nothing to score.',
    ),
    Case(
        'best weights by a score of no domain',
        options(default_hooks__checkpoint__save_best='mIoU'),
        run,
        ValueError,
        "AtomicCheckpointHook.save_best asks for 'mIoU', but scores are named after their domain, as target/mIoU,",
    ),
    Case(
        'early stop by a score of no domain',
        options(custom_hooks=[dict(type='EarlyStoppingHook', monitor='mIoU')]),
        run,
        ValueError,
        "EarlyStoppingHook.monitor asks for 'mIoU', but scores are named after their domain, as target/mIoU,",
    ),
    Case(
        'every zeroth prediction drawn',
        options(default_hooks__visualization=dict(type='SegVisualizationHook', draw=True, interval=0)),
        run,
        ValueError,
        'SegVisualizationHook.interval must be at least 1, got 0.',
    ),
    Case(
        'run of no iterations',
        options(train_cfg__max_iters=0),
        run,
        ValueError,
        'train_cfg.max_iters must be an integer of at least 1, got 0.',
    ),
    Case(
        'run of epochs',
        options(train_cfg=dict(by_epoch=True, max_epochs=1, _delete_=True)),
        run,
        TypeError,
        "PositionSampler orders training data of train_cfg.type='UDATrainLoop' alone, for a UDASegmentor;",
    ),
    Case(
        'no size to pad to',
        options(model__data_preprocessor__size=None),
        run,
        ValueError,
        'model.data_preprocessor needs size=(height, width), that of the crops, or size_divisor.',
    ),
    Case(
        'head that reads a map that is not there',
        options(model__auxiliary_head=[AUXILIARY_HEAD, dict(AUXILIARY_HEAD, in_index=3)]),
        run,
        ValueError,
        'model.auxiliary_head.1.in_index=3, but model.backbone gives 3 maps, which are numbered from 0.',
    ),
    Case(
        'head for maps of other channels',
        options(model__decode_head__in_channels=[16, 32, 17]),
        run,
        ValueError,
        'model.decode_head.in_channels=[16, 32, 17], but the maps [0, 1, 2] of model.backbone have [16, 32, 16]',
    ),
    Case(
        'cascade of heads',
        lambda config: config.model.update(decode_head=[config.model.decode_head] * 2),
        build_model,
        TypeError,
        'model.decode_head must describe one head; for cascades of heads there is no adaptation.',
    ),
    Case(
        'one score map for many classes',
        options(model__decode_head__out_channels=1),
        build_model,
        ValueError,
        'The decode head has out_channels=1, one score map, which tells two classes apart, but num_classes=19.',
    ),
    Case(
        'misspelt option of the command line',
        nothing,
        misspell_option,
        KeyError,
        "--cfg-options model.bakbone.depth: model has no 'bakbone', only [",
    ),
    Case(
        'option of the command line without a value',
        nothing,
        forget_the_value,
        UsageError,
        '--cfg-options model.backbone.depth: write KEY=VALUE, without spaces around the =.',
    ),
    Case(
        'option of the command line with half a bracket',
        nothing,
        forget_half_a_bracket,
        UsageError,
        '--cfg-options model.backbone.out_indices=[2,3: Imbalanced brackets exist in [2,3.',
    ),
    Case(
        'one value for what has keys of its own',
        nothing,
        replace_a_branch,
        TypeError,
        '--cfg-options source_loss=ConservativeLoss: it has keys of its own. Give one of them, such as source_loss.',
    ),
    Case(
        'option below what has no keys',
        nothing,
        option_below_a_value,
        KeyError,
        '--cfg-options train_cfg.max_iters.end.at: train_cfg.max_iters is 4, which has no keys of its own.',
    ),
    Case(
        'option for a step that is not there',
        nothing,
        option_beyond_a_list,
        KeyError,
        "--cfg-options train_dataloader.dataset.pipeline.last: train_dataloader.dataset.pipeline has no 'last', only [",
    ),
    Case(
        'config that is not there',
        nothing,
        misspell_config,
        FileNotFoundError,
        'There is no config configs/cl_gta2cty.py. Configs are listed in configs/README.md.',
    ),
    # weights
    Case(
        'weights that are no checkpoint',
        write_load_from(b'<html>404</html>'),
        run,
        UnreadableCheckpointError,
        'cannot be read as a checkpoint',
    ),
    Case(
        'zero-byte weights',
        write_load_from(b''),
        run,
        UnreadableCheckpointError,
        'weights.pth is empty (0 bytes). Copy or download it again, or use another file.',
    ),
    Case(
        'weights of another network',
        save_weights({'net.weight': torch.zeros(2)}),
        run,
        UnreadableCheckpointError,
        'None of the 1 weights in weights.pth fits UDASegmentor',
    ),
    Case(
        'initial weights of another network',
        initial_weights,
        run,
        CheckpointError,
        'The initial weights weights.pth do not fit a VGG-16 with base_channels=4',
    ),
    Case(
        'weights that would run code',
        save_weights({'state_dict': Path}),
        run,
        UntrustedCheckpointError,
        'carries executable pickle',
    ),
    Case(
        'weights that are not there',
        options(load_from='nowhere.pth'),
        run,
        FileNotFoundError,
        'There is no checkpoint nowhere.pth: No such file or directory. Check the path.',
    ),
    Case(
        'resuming from mere weights',
        save_weights({'state_dict': {}}),
        resume,
        UnresumableCheckpointError,
        'holds no training state (meta, message_hub, optimizer missing), so no run can resume from it.',
    ),
    Case(
        'resuming from a truncated file',
        truncated_weights,
        resume,
        UnreadableCheckpointError,
        'cannot be read as a checkpoint',
    ),
    Case(
        'resuming at an iteration that does not exist',
        save_run(iter=-1),
        resume,
        UnresumableCheckpointError,
        'weights.pth cannot be resumed from: meta.iter is -1.',
    ),
    Case(
        'resuming a run that is longer than the config says',
        save_run(iter=99),
        resume,
        UnresumableCheckpointError,
        'weights.pth was trained for 99 iterations, but train_cfg.max_iters is',
    ),
    Case(
        'weights that are a named pipe',
        pipe_for_weights,
        run,
        FileNotFoundError,
        'There is no checkpoint weights.pth: a named pipe. Check the path.',
    ),
]


@pytest.fixture
def world(smoke_worlds, tmp_path, monkeypatch):
    """Work in a folder with a world of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    shutil.copytree(smoke_worlds / WORLD, WORLD)
    return tmp_path


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name.replace(' ', '_'))
def test_bad_input_gets_a_clear_message(case, world):
    config = smoke_config()
    config.experiment_name = f'bad_input_{CASES.index(case)}'
    case.damage(config)
    if case.error is None:
        case.stage(config)
        _, _, warning = case.message.partition('with a warning: ')
        assert not warning or warning in next(Path('run').glob('*/*.log')).read_text()
        return
    with pytest.raises(case.error) as caught:
        case.stage(config)
    assert case.message in str(caught.value).replace("\\'", "'")


def test_the_good_input_is_good(world):
    """Otherwise the cases above would prove nothing."""
    for stage in (read_source, build_model, run):
        stage(smoke_config())


def test_larger_crops_are_padded_with_the_mean_colour_and_ignored_labels(world):
    config = smoke_config()
    init_default_scope('mmseg')
    config.train_dataloader.dataset.pipeline[3].crop_size = (96, 160)
    sample = build_training_set(config.train_dataloader.dataset, 'train_dataloader.dataset')[0]
    assert sample['inputs'].shape == (3, 32, 64)
    config.model.data_preprocessor.size = (96, 160)
    batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
    padded = MODELS.build(config.model.data_preprocessor)(batch, training=True)
    label = padded['data_samples'][0].gt_sem_seg.data
    assert padded['inputs'].shape == (1, 3, 96, 160) and label.shape == (1, 96, 160)
    assert (padded['inputs'][:, :, 32:] == 0).all() and (padded['inputs'][:, :, :, 64:] == 0).all()
    assert (label[:, 32:] == 255).all() and (label[:, :, 64:] == 255).all()


def test_damaged_files_can_be_skipped_and_are_listed_at_the_end(world):
    config = smoke_config()
    config.train_cfg.update(max_iters=8, on_error='skip')
    config.experiment_name = 'bad_input_skip'
    names = {path.stem for path in IMAGES.iterdir()}
    # Those that validation reads must be sound.
    unscored = sorted(names - monitor_sample(names, 500))[:3]
    empty_image, bomb = (IMAGES / f'{name}.png' for name in unscored[:2])
    label, strip = LABELS / f'{unscored[2]}.png', first(TARGET)
    write(empty_image, b'')
    claim_size(bomb)
    flip_bit(label)
    make_strip(strip)
    run(config)
    log = next(Path('run').glob('*/*.log')).read_text()
    summary = log[log.index('damaged training samples were skipped:') :]
    for path, reason in (
        (empty_image, f'{empty_image}: empty image file (0 bytes); fetch it again'),
        (bomb, f'{bomb}: its header claims 60000×60000 pixels'),
        (IMAGES / label.name, f'{label}: damaged PNG file'),
        (strip, 'OpenCV'),
    ):
        assert f'  {path}: {reason}' in summary and log.count(f'{path}: {reason}') >= 2
    assert summary.count('\n  data/') == 4


def test_files_without_permission_are_named(world):
    """In a child without root's rights, which first sees that the refusal happens."""
    locked = first(IMAGES)
    locked.chmod(0)
    for folder in (world, *world.parents):
        # pytest's own folders are closed to the user that the child becomes
        if Path(tempfile.gettempdir()) in folder.parents:
            folder.chmod(0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            with pytest.raises(PermissionError):
                locked.read_bytes()
            read_source(smoke_config())
        except BaseException as error:
            os.write(writer, f'{type(error).__name__}: {error} {getattr(error, "__notes__", "")}'.encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as pipe:
        message = pipe.read()
    assert message.startswith('PermissionError') and f"Permission denied: '{locked}'" in message
    assert f'While reading {locked} for training.' in message


@pytest.mark.parametrize('spare', [0, -1])
def test_workers_need_a_short_temporary_folder(world, monkeypatch, short_folder, spare):
    """A worker's socket has a name of at most 107 bytes; the run would wait for it for ever."""
    folder = short_folder / ('t' * (LONGEST_TMPDIR - spare - len(str(short_folder)) - 1))
    folder.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(folder))
    config = smoke_config()
    config.val_dataloader.num_workers = 1
    if spare < 0:
        with pytest.raises(ValueError, match=r'val_dataloader: workers cannot hand over pictures.*TMPDIR'):
            run(config)
        return
    socket_name = Path(tempfile.mkdtemp(prefix='pymp-')) / 'listener-XXXXXXXX'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_name))
        with pytest.raises(OSError, match='AF_UNIX path too long'):
            socket.socket(socket.AF_UNIX).bind(f'{socket_name}x')
    run(config)


def test_the_documented_table_is_this_one():
    assert table() in (ROOT / 'docs' / 'reliability.md').read_text()


def table() -> str:
    """Render the cases as the table of docs/reliability.md."""
    rows = [
        f'| {case.name} | {"—" if case.error is None else f"`{case.error.__name__}`"} | {case.message} |'
        for case in CASES
    ]
    return '\n'.join(['| Input | Error | Message |', '|---|---|---|', *rows])


if __name__ == '__main__':
    print(table())
