"""Predict pictures one after the other, and write each as soon as it is done."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.utils.data import DataLoader

from cda_mmseg.evaluation.entropy import mean_normalized_entropy
from cda_mmseg.inference.files import write_png
from cda_mmseg.inference.painting import add_legend, paint_classes, paint_over
from cda_mmseg.inference.pictures import Picture
from cda_mmseg.inference.plain_network import PARTS, without_training
from cda_mmseg.inference.raw_ids import data_set_meta, raw_id_table
from cda_mmseg.inference.reading import PictureReader
from cda_mmseg.inference.record import DONE, Record
from cda_mmseg.inference.tiles import tiled_scores
from cda_mmseg.inference.video import Video, video_file

KINDS = ('train_id', 'label_id', 'color', 'overlay', 'confidence')
MOST_CLASSES = 256
AMP_TYPES = {'cuda': torch.float16, 'cpu': torch.bfloat16}


@dataclass(frozen=True)
class Outcome:
    """What became of a picture: ``status`` is ``'done'`` or says why it could not be predicted."""

    picture: Picture
    status: str


@dataclass(frozen=True)
class Prediction:
    """Hold what is written of a picture.

    Attributes:
        ids: Class ids (H, W), uint8.
        entropy: Mean normalised entropy in [0, 1].
        confidence: Probability of the predicted class (H, W), uint8, 255 for certain; None if nobody asked for it.
    """

    ids: np.ndarray
    entropy: float
    confidence: np.ndarray | None


def predict_pictures(
    pictures: Sequence[Picture],
    model: BaseSegmentor,
    config: Config,
    out: str,
    kinds: Sequence[str] = ('train_id', 'overlay'),
    batch_size: int = 1,
    workers: int = 0,
    amp: bool = False,
    tile: tuple[int, int] | None = None,
    opacity: float = 0.5,
    overwrite: bool = False,
    every: int = 1,
) -> Iterator[Outcome]:
    """Predict what is not predicted yet.

    Pictures of one size that follow each other share a batch. A picture that cannot be read or predicted costs itself
    only.

    Args:
        pictures: The pictures.
        model: The network in evaluation mode, on its device; its ``dataset_meta``, if any, names the classes.
        config: Its config, with a ``test_pipeline``.
        out: The folder to write into, ``<out>/<kind>/<name of the picture>`` and ``<out>/predictions.csv``.
        kinds: What to write, of ``KINDS``.
        batch_size: Pictures per forward pass.
        workers: Processes that read pictures; 0 reads them in this one.
        amp: Whether to compute in mixed precision, float16 on a GPU and bfloat16 on a CPU.
        tile: Height and width of the tiles that pictures are scored by, one by one and read in this process; None
            scores them whole.
        opacity: Of the colours in an overlay, 0..1.
        overwrite: Whether to predict everything anew.
        every: Only every so many frames of a video are predicted.

    Yields:
        What became of each picture that was not predicted before.

    Raises:
        UsageError: If ``out`` holds predictions of other settings or pictures.
        ValueError: If the config cannot give what is asked for.
        OSError: If a file cannot be written.
    """
    meta = getattr(model, 'dataset_meta', None) or data_set_meta(config)
    classes, palette = meta['classes'], meta['palette']
    if len(classes) > MOST_CLASSES:
        raise ValueError(f'The network has {len(classes)} classes, and files of 8 bits hold {MOST_CLASSES}.')
    label_ids = None
    if 'label_id' in kinds:
        # a published network brings them, and no data sets
        known = meta.get('label_ids')
        label_ids = raw_id_table(config, classes) if known is None else np.pad(known, (0, MOST_CLASSES - len(known)))
        label_ids = label_ids.astype(np.uint8)
    settings = dict(
        weights=_fingerprint(model),
        network=_fingerprint_of_rest(config, classes, palette),
        pipeline=repr(config.get('test_pipeline')),
        amp=amp,
        tile=tile and list(tile),
        opacity=opacity,
        every=every,
    )
    if label_ids is not None:
        settings['label_ids'] = label_ids[: len(classes)].tolist()
    os.makedirs(out, exist_ok=True)
    record = Record(out, classes, settings, overwrite)

    def files_of(picture: Picture) -> list[str]:
        return [os.path.join(out, kind, picture.name) for kind in kinds]

    pictures = [
        picture
        for picture in pictures
        if overwrite or not record.is_done(picture.name, picture.path, files_of(picture))
    ]
    videos = [picture for picture in pictures if picture.is_video]
    pictures = [picture for picture in pictures if not picture.is_video]
    reader = PictureReader(pictures, config, keeps_images='overlay' in kinds)
    loader = DataLoader(reader, batch_size=None, num_workers=0 if tile else workers, collate_fn=_as_it_is)

    with_confidence = 'confidence' in kinds

    def predict(batch: list[dict]) -> list[Prediction]:
        device = model.data_preprocessor.device.type
        with torch.no_grad(), torch.autocast(device, AMP_TYPES[device]) if amp else nullcontext():
            if tile:
                scores = tiled_scores(model, batch[0], tile)
                return [
                    _join([_summarize(model.postprocess_result(rows[None])[0], with_confidence) for rows in scores])
                ]
            samples = model.test_step(pseudo_collate(batch))
        return [_summarize(sample, with_confidence) for sample in samples]

    def paint(prediction: Prediction, image: np.ndarray | None, legend: Collection[int]) -> Iterator[np.ndarray]:
        for kind in kinds:
            if kind == 'train_id':
                yield prediction.ids
            elif kind == 'label_id':
                yield cv2.LUT(prediction.ids, label_ids)
            elif kind == 'confidence':
                yield prediction.confidence
            elif kind == 'color':
                yield paint_classes(prediction.ids, palette)
            else:
                painted = paint_over(image, paint_classes(prediction.ids, palette), opacity)
                yield add_legend(painted, legend, classes, palette)

    def shares_of(prediction: Prediction) -> np.ndarray:
        return np.bincount(prediction.ids.ravel(), minlength=len(classes)) / prediction.ids.size

    def predict_video(picture: Picture) -> None:
        """Write a video's overlays as a video of one legend, everything else frame by frame."""
        began, numbers = time.perf_counter(), []
        for kind in kinds:  # a former run may have left others
            for frame in Path(out, kind, picture.name).glob('*.png'):
                frame.unlink()
        video = Video(picture.path)
        frames = (
            (
                Picture(picture.path, f'{picture.name}/{number:06}.png'),
                (reader.prepare_frame(frame, picture.path), frame),
            )
            for number, frame in video.frames(every)
        )
        with ExitStack() as stack:
            if 'overlay' in kinds:
                add = stack.enter_context(video_file(os.path.join(out, 'overlay', picture.name), video.rate / every))
            for batch in _batches(frames, 1 if tile else batch_size):
                started = time.perf_counter()
                results = predict([item for _, item, _ in batch])
                seconds = (time.perf_counter() - started) / len(batch)
                for (frame, _, image), result in zip(batch, results, strict=True):
                    for kind, pixels in zip(kinds, paint(result, image, range(len(classes))), strict=True):
                        if kind == 'overlay':
                            add(pixels)
                        else:
                            write_png(os.path.join(out, kind, frame.name), pixels)
                    numbers.append([result.entropy, *shares_of(result)])
                    record.add(frame.name, frame.path, DONE, seconds, result.entropy, numbers[-1][1:])
        entropy, *shares = np.mean(numbers, 0)
        record.add(picture.name, picture.path, DONE, time.perf_counter() - began, entropy, shares)

    began = time.perf_counter()
    for batch in _batches(zip(pictures, loader, strict=True), 1 if tile else batch_size):
        results = _each([item for _, item, _ in batch], predict)
        forward = (time.perf_counter() - began) / len(batch)
        for (picture, _, image), result in zip(batch, results, strict=True):
            began = time.perf_counter()
            if isinstance(result, str):
                status, entropy, shares = ' '.join(result.split()), None, ()
            else:
                for file, pixels in zip(files_of(picture), paint(result, image, np.unique(result.ids)), strict=True):
                    write_png(file, pixels)
                status, entropy = DONE, result.entropy
                shares = shares_of(result)
            seconds = forward + time.perf_counter() - began
            record.add(picture.name, picture.path, status, seconds, entropy, shares)
            yield Outcome(picture, status)
        began = time.perf_counter()
    for picture in videos:
        status = DONE
        try:
            predict_video(picture)
        except (RuntimeError, ValueError, cv2.error) as error:
            status = ' '.join(str(error).split())
            record.add(picture.name, picture.path, status, 0, None, ())
        yield Outcome(picture, status)


Read = tuple[Picture, dict | str, np.ndarray | None]


def _batches(read: Iterator[tuple[Picture, tuple]], size: int) -> Iterator[list[Read]]:
    """Join neighbours of one size; what cannot be read stays alone."""
    batch: list[Read] = []
    former = None
    for picture, (item, image) in chain(read, [(None, (None, None))]):
        shape = None
        if isinstance(item, dict):
            shape = (item['inputs'].shape, item['data_samples'].ori_shape)
        if batch and (shape is None or shape != former or len(batch) == size):
            yield batch
            batch = []
        if picture is not None:
            batch.append((picture, item, image))
        former = shape


def _each(items: list[dict | str], predict: Callable[[list[dict]], list[Prediction]]) -> list[Prediction | str]:
    """Predict a batch; when that fails each picture for itself, so that only the culprit is lost."""
    if isinstance(items[0], str):
        return items
    try:
        return predict(items)
    except (RuntimeError, ValueError) as error:
        if len(items) == 1:
            return [f'The network cannot predict it: {error}']
    return list(chain.from_iterable(_each([item], predict) for item in items))


def _summarize(sample: SegDataSample, with_confidence: bool) -> Prediction:
    scores = sample.seg_logits.data
    confidence = None
    if with_confidence:
        # a binary head's single channel holds the probability of the foreground
        probability = scores.softmax(0).amax(0) if len(scores) > 1 else torch.maximum(scores, 1 - scores)[0]
        confidence = _to_numpy((probability * 255).round())
    return Prediction(_to_numpy(sample.pred_sem_seg.data[0]), mean_normalized_entropy(scores), confidence)


def _join(parts: list[Prediction]) -> Prediction:
    """Join predictions of rows that follow each other."""
    ids = np.concatenate([part.ids for part in parts])
    entropy = sum(part.entropy * len(part.ids) for part in parts) / len(ids)
    has_confidence = parts[0].confidence is not None
    return Prediction(ids, entropy, np.concatenate([part.confidence for part in parts]) if has_confidence else None)


def _to_numpy(pixels: Tensor) -> np.ndarray:
    return pixels.to(torch.uint8).cpu().numpy()


def _fingerprint(model: BaseSegmentor) -> str:
    """Hash the weights and their names."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _fingerprint_of_rest(config: Config, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> str:
    """Hash what the weights do not say: layers, normalisation, how pictures are scored, names and colours."""
    parts = {key: without_training(config.model.get(key)) for key in (*PARTS, 'data_preprocessor', 'test_cfg')}
    meta = dict(classes=list(classes), palette=[list(color) for color in palette])
    text = json.dumps({**parts, **meta}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_it_is(item: tuple) -> tuple:
    return item
