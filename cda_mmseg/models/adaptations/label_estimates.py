"""What the labels of target pictures are like, estimated from features of the source's labelled pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from mmengine.utils import track_iter_progress
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from cda_mmseg.datasets.cache import WORTH_A_BAR, computed_once, file_state
from cda_mmseg.datasets.class_counts import label_readers, label_states
from cda_mmseg.datasets.superpixels import NO_SUPERPIXEL, Superpixels
from cda_mmseg.datasets.transforms import LoadImage
from cda_mmseg.models.adaptations.initial_backbone import initial_backbone

if TYPE_CHECKING:
    from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
HELD_OUT = 5
"""Every how many-th picture of the source chooses the ridge."""


class Regression:
    """Regress label distributions on features: softmax regression with a ridge that held-out pictures choose.

    Args:
        features (Tensor): Features (n, D) of the source.
        targets (Tensor): Label distributions (n, C).
        groups (Tensor): Picture of each row, (n,).
    """

    def __init__(self, features: Tensor, targets: Tensor, groups: Tensor) -> None:
        self.mean, self.scale = features.mean(0), features.std(0).clamp(min=1e-6)
        features = self._standardised(features)
        held_out = groups % HELD_OUT == HELD_OUT - 1
        self.ridge = RIDGES[1]
        if held_out.any() and not held_out.all():
            errors = []
            for ridge in RIDGES:
                self.weights = _fit(features[~held_out], targets[~held_out], ridge)
                errors.append(-(targets[held_out] * self._log_shares(features[held_out])).sum(1).mean().item())
            self.ridge = RIDGES[int(np.argmin(errors))]
        self.weights = _fit(features, targets, self.ridge)

    def __call__(self, features: Tensor) -> Tensor:
        """Estimate the label distributions (n, C) of features (n, D)."""
        return self._log_shares(self._standardised(features)).exp()

    def _standardised(self, features: Tensor) -> Tensor:
        # Divided by the root of their number, so that a ridge means the same for any.
        return (features - self.mean) / self.scale / features.shape[1] ** 0.5

    def _log_shares(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weights[:, :-1], self.weights[:, -1]).log_softmax(1)


def _fit(features: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Minimise cross entropy plus ``ridge / D`` times the squared weights; returns weights and biases (C, D + 1)."""
    weights = torch.zeros(targets.shape[1], features.shape[1] + 1, dtype=features.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=300, tolerance_grad=1e-6, line_search_fn='strong_wolfe')

    def loss() -> Tensor:
        optimizer.zero_grad()
        log_shares = F.linear(features, weights[:, :-1], weights[:, -1]).log_softmax(1)
        penalty = ridge / features.shape[1] * weights[:, :-1].square().sum()
        value = -(targets * log_shares).sum(1).mean() + penalty
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


class Features:
    """Pool the features of the segmentor's backbone, with its initial weights, over pictures and superpixels.

    Args:
        segmentor (UDASegmentor): The segmentor.
        superpixels (Superpixels): How pictures are cut.
    """

    def __init__(self, segmentor: UDASegmentor, superpixels: Superpixels) -> None:
        self.superpixels = superpixels
        self._preprocessor = segmentor.data_preprocessor
        # The weights that training starts from: the estimates of a run do not change when it is resumed.
        self._backbone = initial_backbone(segmentor)

    @property
    def state(self) -> str:
        """str: What changes when the weights, the normalisation or the superpixels do."""
        # a preprocessor's repr says nothing of what it does
        does = [buffer.tolist() for buffer in self._preprocessor.buffers()]
        does += [vars(self._preprocessor).get(key) for key in ('_channel_conversion', 'test_cfg')]
        digest = hashlib.sha256(repr((does, self.superpixels)).encode())
        for value in self._backbone.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def of(self, path: str) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return a picture's features (D,), those of its superpixels (S, D), and its map (h, w) of these."""
        regions = self.superpixels.of(path)
        height, width = regions.shape
        image = cv2.resize(LoadImage()({'img_path': path})['img'], (width, height), interpolation=cv2.INTER_AREA)
        data = dict(inputs=[torch.from_numpy(image).permute(2, 0, 1)], data_samples=[SegDataSample()])
        maps = self._backbone(self._preprocessor(data, training=False)['inputs'])
        (deepest,) = (maps if isinstance(maps, Tensor) else maps[-1]).float().cpu()
        of_region = F.one_hot(torch.from_numpy(regions).long()).permute(2, 0, 1).float()
        shares = F.adaptive_avg_pool2d(of_region, deepest.shape[1:]).flatten(1)
        shares = shares / shares.sum(1, keepdim=True)
        return deepest.mean((1, 2)), shares @ deepest.flatten(1).T, regions


def estimate(
    segmentor: UDASegmentor,
    source: Dataset,
    target: Dataset,
    superpixels: Superpixels,
    counts: np.ndarray,
    pictures: int,
    landmark_share: float,
) -> dict[str, np.ndarray]:
    """Estimate label distributions and landmark superpixels of the target's pictures; kept on the disk.

    No label of the target is opened.

    Args:
        segmentor (UDASegmentor): The segmentor; its backbone's initial weights make the features.
        source (Dataset): Labelled data set, or a ``ConcatDataset`` of such.
        target (Dataset): The target's data set.
        superpixels (Superpixels): How pictures are cut.
        counts (np.ndarray): Pixels of each class in each label of the source, (labels, C).
        pictures (int): Labelled pictures to learn from, evenly spread.
        landmark_share (float): Share of a picture's superpixels, the surest ones, that become landmarks.

    Returns:
        dict[str, np.ndarray]: ``distributions`` (n, C) float32 and ``landmarks`` (n, 256) uint8: the class of each
        superpixel, 255 for those that are no landmarks, in the order of the target's pictures.
    """
    features = Features(segmentor, superpixels)
    labelled = [(part, index) for part in getattr(source, 'datasets', [source]) for index in range(len(part))]
    chosen = [number for number in _spread(len(labelled), pictures) if counts[number].any()]
    paths = picture_paths(target)

    def compute() -> dict[str, np.ndarray]:
        samples = [labelled[number] for number in chosen]
        superpixels.prepare([part.get_data_info(index)['img_path'] for part, index in samples])
        superpixels.prepare(paths)
        rows = [_labelled_features(features, *sample, counts.shape[1]) for sample in _watched(samples)]
        of_pictures, of_regions = _regress(rows, counts[chosen])
        distributions, landmarks = [], []
        for path in _watched(paths):
            picture, regions, _ = features.of(path)
            distributions.append(of_pictures(picture[None])[0].numpy())
            landmarks.append(_surest(of_regions(regions), landmark_share))
        return dict(distributions=np.array(distributions, np.float32), landmarks=np.array(landmarks))

    depends_on = [features.state, chosen, landmark_share, *map(file_state, paths)]
    for part in getattr(source, 'datasets', [source]):
        depends_on += label_states(part) + [file_state(path) for path in picture_paths(part)]
    return computed_once('label_estimates', depends_on, compute)


def picture_paths(dataset: Dataset) -> list[str]:
    """List the picture files of a data set, or of the parts of a ``ConcatDataset``."""
    parts = getattr(dataset, 'datasets', [dataset])
    return [part.get_data_info(index)['img_path'] for part in parts for index in range(len(part))]


def _spread(length: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int)).tolist()


def _watched(tasks: list) -> Iterator:
    return iter(tasks) if len(tasks) < WORTH_A_BAR else track_iter_progress(tasks)


def _labelled_features(features: Features, dataset: Dataset, index: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return features of a labelled picture, and features and classes of its superpixels that are mostly one class."""
    results = dataset.get_data_info(index)
    picture, of_regions, regions = features.of(results['img_path'])
    for reader in label_readers(dataset):
        results = reader(results)
    label = cv2.resize(results['gt_seg_map'], regions.shape[::-1], interpolation=cv2.INTER_NEAREST)
    counts = np.zeros((len(of_regions), 256), np.int64)
    np.add.at(counts, (regions.ravel(), label.ravel()), 1)
    largest = counts[:, :classes].argmax(1)
    clear = counts[np.arange(len(counts)), largest] > counts.sum(1) / 2
    return picture, of_regions[clear], torch.from_numpy(largest[clear])


def _regress(rows: list[tuple[Tensor, Tensor, Tensor]], counts: np.ndarray) -> tuple[Regression, Regression]:
    """Fit the regressions of pictures and of superpixels."""
    pictures, regions, classes = zip(*rows, strict=True)
    shares = torch.from_numpy(counts / counts.sum(1, keepdims=True)).float()
    owners = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(one) for one in classes]))
    one_hot = F.one_hot(torch.cat(classes), counts.shape[1]).float()
    return (
        Regression(torch.stack(pictures), shares, torch.arange(len(rows))),
        Regression(torch.cat(regions), one_hot, owners),
    )


def _surest(probabilities: Tensor, share: float) -> np.ndarray:
    """Give the surest superpixels their class, and the others 255."""
    classes = np.full(256, NO_SUPERPIXEL, np.uint8)
    sureness, best = probabilities.max(1)
    kept = sureness.argsort(descending=True, stable=True)[: round(share * len(probabilities))]
    classes[kept.numpy()] = best[kept].numpy()
    return classes
