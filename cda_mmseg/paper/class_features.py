"""Gather the class scores of both domains' images, class by class (for Fig. 4 of the paper)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import DATASETS
from rich.progress import track
from torch.nn import functional as F
from torch.utils.data import Dataset

from cda_mmseg.datasets.both_domains import select_role
from cda_mmseg.engine.checkpointing.fitting import init_trained_model

DOMAINS = ('source', 'target')
MIN_PIXELS = 4


@dataclass(frozen=True)
class ClassFeatures:
    """One feature vector per image and class.

    Attributes:
        classes (tuple[str, ...]): Names of the classes of the data.
        features (np.ndarray): Class scores before the softmax, averaged over the pixels of a class, float64, (n, C).
        class_index (np.ndarray): Class of each vector, int64, (n,).
        is_target (np.ndarray): Whether the image is one of the target, bool, (n,).
        image (np.ndarray): Number of the image, unlike that of any other image of either domain, int64, (n,).
        labeled (dict[str, bool]): Whether the pixels of a domain were told apart by its labels, or by the model's own
            prediction because there are none.
    """

    classes: tuple[str, ...]
    features: np.ndarray
    class_index: np.ndarray
    is_target: np.ndarray
    image: np.ndarray
    labeled: dict[str, bool]

    def frequent_classes(self, count: int = 4) -> list[str]:
        """Choose the classes that the most images of both domains have.

        Args:
            count (int): Number of classes.

        Returns:
            list[str]: Their names, the most frequent first.

        Raises:
            ValueError: If fewer classes occur in both domains.
        """
        source, target = (Counter(self.class_index[self.is_target == flag].tolist()) for flag in (False, True))
        common = sorted(source.keys() & target.keys(), key=lambda index: (-min(source[index], target[index]), index))
        if len(common) < count:
            raise ValueError(f'only {len(common)} classes occur in both domains, {count} are asked for')
        return [self.classes[index] for index in common[:count]]

    def select(self, names: Sequence[str]) -> 'ClassFeatures':
        """Keep the vectors of some classes.

        Args:
            names (Sequence[str]): Names of classes.

        Returns:
            ClassFeatures: The same of fewer vectors.

        Raises:
            ValueError: If a name is no class.
        """
        unknown = [name for name in names if name not in self.classes]
        if unknown:
            raise ValueError(f'{unknown} are none of the classes {", ".join(self.classes)}')
        kept = np.isin(self.class_index, [self.classes.index(name) for name in names])
        return ClassFeatures(
            self.classes,
            self.features[kept],
            self.class_index[kept],
            self.is_target[kept],
            self.image[kept],
            self.labeled,
        )


def gather_class_features(
    config: Config,
    checkpoint: str | Path,
    data_config: Config | None = None,
    images: int = 100,
    seed: int = 0,
    device: str = 'cpu',
) -> ClassFeatures:
    """Run a model over images of both domains and average its class scores over the pixels of each class.

    Args:
        config (Config): Config of the model.
        checkpoint (str | Path): Its weights.
        data_config (Config | None): Config whose validation data is used, for another pair of data sets than the
            model's own. Its class ids must be those of the model.
        images (int): Number of images of each domain, chosen at random.
        seed (int): Seed of the choice.
        device (str): Device to compute on.

    Returns:
        ClassFeatures: A vector for each class that an image has at least 4 score pixels of.

    Raises:
        ValueError: If a domain has no images.
    """
    data_config = data_config or config
    init_default_scope(config.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(data_config.val_dataloader.dataset)
    model = init_trained_model(config, str(checkpoint), device)
    features, class_index, is_target, image = [], [], [], []
    labeled: dict[str, bool] = {}
    for domain in DOMAINS:
        part, chosen = _choose(dataset, domain, images, seed)
        for item in track(map(part.__getitem__, chosen), f'Images of the {domain}', len(chosen)):
            number = len(set(image))
            scores = _class_scores(model, item)
            labeled[domain] = 'gt_sem_seg' in item['data_samples']
            classes = _class_map(item, scores)
            for index in np.unique(classes[classes < len(dataset.metainfo['classes'])]):
                pixels = classes == index
                if pixels.sum() >= MIN_PIXELS:
                    features.append(scores[:, pixels].mean(axis=1))
                    class_index.append(int(index))
                    is_target.append(domain == 'target')
                    image.append(number)
    return ClassFeatures(
        tuple(dataset.metainfo['classes']),
        np.array(features),
        np.array(class_index, dtype=np.int64),
        np.array(is_target),
        np.array(image, dtype=np.int64),
        labeled,
    )


def _choose(dataset: Dataset, domain: str, count: int, seed: int) -> tuple[Dataset, list[int]]:
    """Find the data set of a domain and draw images from it."""
    part = select_role(dataset, domain)
    return part, np.random.default_rng(seed).permutation(len(part))[:count].tolist()


@torch.no_grad()
def _class_scores(model: BaseSegmentor, item: dict) -> np.ndarray:
    """Compute the output of the class-score layer, (C, h, w), float64."""
    batch = model.data_preprocessor(pseudo_collate([item]), training=False)
    return model.decode_head.forward(model.extract_feat(batch['inputs']))[0].double().cpu().numpy()


def _class_map(item: dict, scores: np.ndarray) -> np.ndarray:
    """Tell each score pixel's class: (h, w), from labels where there are any, else as predicted."""
    if 'gt_sem_seg' not in item['data_samples']:
        return scores.argmax(axis=0)
    label = item['data_samples'].gt_sem_seg.data[None].float()
    return F.interpolate(label, size=scores.shape[1:], mode='nearest-exact')[0, 0].long().numpy()
