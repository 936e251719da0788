"""Bad input: what happens to it, and the message that it gets. docs/reliability.md holds the same table.

Print the table with ``python -m tests.test_bad_input``.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader, Runner
from mmseg.registry import MODELS
from PIL import Image

from cda_mmseg import launch
from cda_mmseg.engine import PositionedDataset
from cda_mmseg.engine.checkpointing import (
    CheckpointError,
    UnreadableCheckpointError,
    UnresumableCheckpointError,
    UntrustedCheckpointError,
    install_safe_loader,
)
from cda_mmseg.engine.data_checks import build_training_set
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


def initial_weights(config: Config) -> None:
    torch.save({'features.0.weight': torch.zeros(8, 3, 3, 3), 'features.0.bias': torch.zeros(8)}, 'weights.pth')
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='weights.pth')


def write_load_from(data: bytes) -> Callable[[Config], None]:
    def damage(config: Config) -> None:
        write(Path('weights.pth'), data)
        config.load_from = 'weights.pth'

    return damage


def smoke_config() -> Config:
    config = Config.fromfile(SMOKE)
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


def plain_text(config: Config) -> str:
    """Write a config without mmengine's formatter, which takes longer than everything else here."""
    return '\n'.join(f'{key} = {value!r}' for key, value in config.to_dict().items())


def run(config: Config) -> None:
    """Take the steps of tools/train.py."""
    Path('config.py').write_text(plain_text(config))
    install_safe_loader()
    config = launch.load_config('config.py', None, 'run', 'none')
    Runner.from_cfg(config).train()


def resume(config: Config) -> None:
    """Go on from weights.pth, as ``--resume weights.pth`` does."""
    launch.resume_point(config, config.load_from, trusted=False)


def misspell_option(config: Config) -> None:
    """Read the command line ``--cfg-options model.bakbone.depth=19``."""
    launch.load_config(SMOKE, {'model.bakbone.depth': 19}, 'run', 'none')


def misspell_config(config: Config) -> None:
    """Read a config that is not there."""
    launch.load_config('configs/cl_gta2cty.py', None, 'run', 'none')


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
    # labels
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
        'damaged label file (image file is truncated); fetch it again',
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
        'class weights for other classes',
        options(
            model__decode_head__loss_decode__warm=dict(
                type='SoftmaxCrossEntropyLoss', class_weight=[1.0, 2.0], _delete_=True
            )
        ),
        run,
        ValueError,
        'class_weight holds 2 weights, but cls_score has 19 classes.',
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
        options(model__encoder_adversarial_weight=-1.0),
        build_model,
        ValueError,
        'model.encoder_adversarial_weight must be a finite number of at least 0, got -1.0.',
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
        'misspelt key of the config',
        options(custom_hoks=[]),
        run,
        KeyError,
        "nobody reads the key 'custom_hoks'. Did you mean 'custom_hooks'?",
    ),
    Case(
        'misspelt argument',
        options(model__backbone__dephth=16),
        build_model,
        TypeError,
        "VGG.__init__() got an unexpected keyword argument 'dephth'",
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
        "optim_wrapper has keys ['critic'], but AdversarialUDASegmentor has only ['discriminator',",
    ),
    Case(
        'sampler of another loop',
        options(train_dataloader__sampler=dict(type='InfiniteSampler', _delete_=True)),
        run,
        ValueError,
        "train_dataloader.sampler must be dict(type='PositionSampler')",
    ),
    Case(
        'unknown way to treat damaged files',
        options(train_cfg__on_error='ignore'),
        run,
        ValueError,
        "train_cfg.on_error must be 'raise' or 'skip', got 'ignore'.",
    ),
    Case(
        'misspelt option of the command line',
        nothing,
        misspell_option,
        KeyError,
        "--cfg-options model.bakbone.depth: model has no 'bakbone', only [",
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
        'None of the 1 weights in weights.pth fits AdversarialUDASegmentor',
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
        'There is no checkpoint nowhere.pth. Check the path.',
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
]


@pytest.fixture
def world(smoke_worlds, tmp_path, monkeypatch):
    """Work in a folder with a world of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(plain_text))
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
    damaged = first(IMAGES)
    write(damaged, b'')
    run(config)
    log = next(Path('run').glob('*/*.log')).read_text()
    assert '1 damaged training samples were skipped:' in log
    assert log.count(f'{damaged}: empty image file (0 bytes); fetch it again') == 1 + 1 + log.count('While')


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
