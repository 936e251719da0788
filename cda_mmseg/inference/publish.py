"""Write a folder with a trained network that can be sent as it is, and check it before it gets its name."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.engine.composition import compose
from cda_mmseg.inference.model_card import machine_readable, model_card
from cda_mmseg.inference.pictures import Picture
from cda_mmseg.inference.plain_network import PARTS, modules_beyond_mmseg, plain_config
from cda_mmseg.inference.raw_ids import data_set_meta, raw_id_table
from cda_mmseg.inference.reading import PictureReader
from cda_mmseg.utils.loading.config_text import read_config_text
from cda_mmseg.utils.loading.errors import UnreadableCheckpointError
from cda_mmseg.utils.loading.safe_loading import read_checkpoint

SIZES = ((96, 192), (128, 128), (96, 160))
"""Heights and widths of the pictures that the check predicts."""

TRAINING_MODULES = tuple(
    f'cda_mmseg.{name}'
    for name in (
        *('engine', 'evaluation', 'registration', 'models.adaptations', 'models.discriminators', 'models.generators'),
        'models.segmentors',
    )
)
"""What a published network made of this package's parts must do without."""


class PublishedFolderError(RuntimeError):
    """Say what is wrong with a folder that was about to be published; nothing is left of it."""


@dataclass(frozen=True)
class Published:
    """Name what was published: its files, and the modules beyond mmseg that it needs."""

    files: tuple[str, ...]
    modules: tuple[str, ...]


def publish(checkpoint: str, out: str, config_file: str | None = None, onnx: bool = False) -> Published:
    """Publish the network of a run.

    Args:
        checkpoint: A checkpoint of the run.
        out: The folder to make; it may exist if it is empty. It appears once everything in it is checked.
        config_file: The run's config; by default as the checkpoint holds it, which is read and not run.
        onnx: Whether to write an ONNX model too.

    Raises:
        FileExistsError: If there is something in ``out``.
        CheckpointError: If the checkpoint cannot be read, holds no config, or is of another network.
        ValueError: If plain mmseg could not use the network.
        PublishedFolderError: If a check fails.
        ExportError: If there is no ONNX model that computes the same.
    """
    if os.path.exists(out) and (not os.path.isdir(out) or os.listdir(out)):
        raise FileExistsError(f'{out} exists and is kept: give --out the name of a new or an empty folder.')
    content = read_checkpoint(checkpoint, 'cpu', trusted=False, mmap=True)
    config = _config_of(content, checkpoint, config_file)
    # players and teachers are not built, and their weights are left in the file
    config.model.adaptations = {}
    model = init_trained_model(config, checkpoint).to(memory_format=torch.contiguous_format)
    weights = {
        name: value.contiguous().clone() for name, value in model.state_dict().items() if name.split('.')[0] in PARTS
    }
    plain = plain_config(config, _meta(model, config))
    parent = os.path.dirname(os.path.abspath(out))
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.publishing-', dir=parent) as scratch:
        folder = Path(scratch, 'folder')
        folder.mkdir()
        _write(folder, weights, plain, config, content, checkpoint)
        modules = modules_beyond_mmseg(plain.model)
        expected = _predict(model, config, scratch)
        _check(folder, scratch, expected, modules)
        if onnx:
            # an extra that others need not have installed
            from cda_mmseg.inference.onnx_export import export

            export(model, plain, folder / 'model.onnx')
        _check_paths(folder, checkpoint)
        os.replace(folder, out)
    return Published(tuple(sorted(os.listdir(out))), tuple(modules))


def _config_of(content: Mapping, checkpoint: str, config_file: str | None) -> Config:
    if config_file is None:
        text = (content.get('meta') or {}).get('cfg')
        if not isinstance(text, str):
            raise UnreadableCheckpointError(
                f'{checkpoint} has no meta data with the config that it was trained with: name it with --config.'
            )
        config = read_config_text(text, checkpoint)
    else:
        config = Config.fromfile(config_file)
    compose(config)
    return config


def _meta(model: BaseSegmentor, config: Config) -> dict:
    """Name classes, colours and, where a data set of the config says so, label ids."""
    meta = getattr(model, 'dataset_meta', None) or data_set_meta(config)
    plain = dict(classes=list(meta['classes']), palette=[list(color) for color in meta['palette']])
    try:
        ids = raw_id_table(config, plain['classes'])
    except ValueError:  # no data set of the config has any
        return plain
    return dict(plain, label_ids=ids[: len(plain['classes'])].tolist())


def _write(
    folder: Path, weights: Mapping[str, Tensor], plain: Config, config: Config, content: Mapping, checkpoint: str
) -> None:
    # read where it is needed: an environment without it trains and predicts
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise ImportError('Publishing writes safetensors: pip install "cda_mmseg[publish]".') from error

    meta = {key: plain.test_dataloader.dataset.metainfo[key] for key in ('classes', 'palette')}
    (folder / 'model.safetensors').write_bytes(save(dict(weights), metadata={'format': 'pt'}))
    pickled = folder / 'model.pth'
    torch.save(dict(state_dict=dict(weights), meta=dict(dataset_meta=meta)), pickled)
    with pickled.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    pickled = pickled.rename(folder / f'model-{digest[:8]}.pth')
    (folder / 'config.py').write_text(plain.pretty_text, 'utf-8')
    (folder / 'config.json').write_text(machine_readable(meta, plain.model.data_preprocessor), 'utf-8')
    # BatchNorm's statistics are weights too, but nobody counts them
    statistics = ('running_mean', 'running_var', 'num_batches_tracked')
    parameters = sum(value.numel() for name, value in weights.items() if not name.endswith(statistics))
    card = model_card(content, checkpoint, config, plain, parameters, pickled.name)
    (folder / 'README.md').write_text(card, 'utf-8')


def _predict(model: BaseSegmentor, config: Config, scratch: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Write pictures and predict them as the run does; return scores and classes by picture."""
    draw = np.random.default_rng(0)
    pictures = [Picture(os.path.join(scratch, f'{number}.png'), f'{number}.png') for number in range(len(SIZES))]
    for picture, (height, width) in zip(pictures, SIZES, strict=True):
        coarse = draw.integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(picture.path, cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    predictions = {}
    with torch.no_grad():
        for picture, (item, _) in zip(pictures, PictureReader(pictures, config, keeps_images=False), strict=True):
            (sample,) = model.test_step(pseudo_collate([item]))
            predictions[picture.path] = (sample.seg_logits.data, sample.pred_sem_seg.data)
    return predictions


def _check(folder: Path, scratch: str, expected: Mapping, modules: list[str]) -> None:
    """Use the folder in a new process, without what the receiver may not have."""
    file = os.path.join(scratch, 'expected.pt')
    torch.save(dict(expected), file)
    ours = any(name.startswith('cda_mmseg.') for name in modules)
    blocked = TRAINING_MODULES if ours else ('cda_mmseg',)
    program = str(Path(__file__).with_name('check_published.py'))
    # -P: the folder of the program is no place to import from
    command = [sys.executable, '-P', program, str(folder), file, *blocked]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]
        raise PublishedFolderError(f'The folder does not work in a new process, so it is not published: {reason}')


def _check_paths(folder: Path, checkpoint: str) -> None:
    """Refuse paths of this machine in anything that is published."""
    folders = [os.path.expanduser('~'), os.getcwd(), os.path.dirname(os.path.realpath(checkpoint))]
    named = [path.encode() for path in folders if path.count(os.sep) > 1 or len(path) > 4]
    for file in folder.iterdir():
        content = file.read_bytes()
        for path in named:
            if path in content:
                raise PublishedFolderError(f'{file.name} would name {path.decode()}, a path of this machine.')
