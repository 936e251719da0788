"""The same pictures at each validation, as the network sees them by then."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from torch import Tensor

from cda_mmseg.engine.hooks import TeacherEvaluationHook
from cda_mmseg.evaluation.entropy import class_probabilities
from cda_mmseg.models.segmentors.signals import loss_base
from cda_mmseg.visualization.class_colors import color_classes
from cda_mmseg.visualization.contact_sheet import WIDTH, contact_sheet
from cda_mmseg.visualization.reconstruction import reconstruct


@HOOKS.register_module()
class DomainPanelHook(Hook):
    """Show some pictures of each domain at each validation, under one tag in every backend of the visualizer.

    A row has the input, the generator's reconstruction or, of the target, the teacher's pseudo labels where there are
    any, the prediction, the truth where there is one, and as a heat map the probability p_t of the true class, without
    truth that of the predicted one, with a white line at 1/a, where the Conservative Loss changes its sign.

    Args:
        pictures (int): How many of each domain, the first ones of the data set.
        names (Sequence[str]): Names of files to show instead.
        tag (str): Name in the backends.

    Raises:
        ValueError: If ``pictures`` is less than 1, or ``names`` is a single string.
    """

    def __init__(self, pictures: int = 1, names: Sequence[str] = (), tag: str = 'panel') -> None:
        if isinstance(names, str):
            raise ValueError(f'DomainPanelHook.names must be a list, such as [{names!r}].')
        if pictures < 1:
            raise ValueError(f'DomainPanelHook.pictures must be at least 1, got {pictures}.')
        self.pictures = pictures
        self.names = frozenset(names)
        self._missing = set(names)
        self.tag = tag
        self._rows: dict[str, list[tuple[str, list[np.ndarray]]]] = {}

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin a new panel."""
        self._rows = {}

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        """Draw the pictures among those just predicted."""
        if not is_main_process() or not runner.val_dataloader.dataset.metainfo.get('palette'):
            return
        for inputs, sample in zip(data_batch['inputs'], outputs, strict=True):
            rows = self._rows.setdefault(sample.get('domain', 'validation'), [])
            name = Path(sample.get('img_path', '')).name
            if name in self.names if self.names else len(rows) < self.pictures:
                self._missing.discard(name)
                rows.append(self._draw(runner, inputs, sample, name))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Hand the panel to the visualizer."""
        if self._missing and self._rows:
            runner.logger.warning(
                f'DomainPanelHook.names: {", ".join(sorted(self._missing))} is none of the pictures that the first '
                'process validates, and not shown.'
            )
            self._missing = set()
        rows = [row for domain in sorted(self._rows, reverse=True) for row in self._rows[domain]]
        if rows:
            meta = runner.val_dataloader.dataset.metainfo
            legend = dict(zip(meta['classes'], meta['palette'], strict=False))
            runner.visualizer.add_image(self.tag, np.asarray(contact_sheet(rows, legend)), runner.iter)
        self._rows = {}

    def _draw(self, runner: Runner, inputs: Tensor, sample: SegDataSample, name: str) -> tuple[str, list[np.ndarray]]:
        model = runner.model
        while is_model_wrapper(model):
            model = model.module
        palette = runner.val_dataloader.dataset.metainfo['palette']
        pictures = {'input': _picture(inputs)}
        item = dict(inputs=inputs, data_samples=sample)
        rebuilt = reconstruct(model, item)
        is_exchanged = any(isinstance(hook, TeacherEvaluationHook) for hook in runner.hooks)
        if rebuilt is not None:
            pictures['reconstruction'] = rebuilt
        elif sample.get('domain', '').startswith('target') and not is_exchanged:
            labels = _pseudo_labels(model, item)
            if labels is not None:
                pictures['pseudo labels'] = color_classes(labels, palette)
        # No more than a cell shows: softmax over all pixels of a large picture takes longer than the rest.
        every = max(1, sample.pred_sem_seg.data.shape[-1] // WIDTH)
        pictures['prediction'] = color_classes(_ids(sample.pred_sem_seg.data, every), palette)
        truth = _ids(sample.gt_sem_seg.data, every) if 'gt_sem_seg' in sample else None
        if truth is not None:
            pictures['truth'] = color_classes(truth, palette)
        if 'seg_logits' in sample:
            probabilities = class_probabilities(sample.seg_logits.data[:, ::every, ::every].float()).cpu().numpy()
            has_loss = hasattr(getattr(model, 'decode_head', None), 'loss_decode')
            base = loss_base(model.decode_head) if has_loss else math.e
            title = 'probability of the predicted class' if truth is None else 'p_t'
            pictures[f'{title}, line at {1 / base:.2f}'] = heat_map(probabilities, truth, 1 / base)
        return f'{sample.get("domain", "")} {name}: {" | ".join(pictures)}', list(pictures.values())


def heat_map(probabilities: np.ndarray, truth: np.ndarray | None, level: float) -> np.ndarray:
    """Paint the probability of the true class, or of the likeliest one, with a white line at a level.

    Args:
        probabilities: (C, H, W).
        truth: Class ids (H, W); what is no class is black. None for the likeliest class.
        level: Where the line is.

    Returns:
        RGB, uint8, (H, W, 3).
    """
    if truth is None:
        truth = probabilities.argmax(0)
    valid = (truth >= 0) & (truth < len(probabilities))
    shown = np.take_along_axis(probabilities, np.where(valid, truth, 0)[None].astype(np.int64), 0)[0]
    painted = cv2.applyColorMap((shown * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    above = ((shown > level) & valid).astype(np.uint8)
    painted[(cv2.erode(above, np.ones((3, 3), np.uint8)) != above) & valid] = 255
    painted[~valid] = 0
    return painted


def _ids(data: Tensor, every: int) -> np.ndarray:
    return data[0, ::every, ::every].cpu().numpy().astype(np.int64)


def _picture(inputs: Tensor) -> np.ndarray:
    """Turn what was loaded, BGR (3, H, W) or any number of channels, into RGB (H, W, 3)."""
    loaded = inputs.flip(0) if len(inputs) == 3 else inputs[:1].expand(3, *inputs.shape[1:])
    return loaded.permute(1, 2, 0).cpu().numpy().clip(0, 255).astype(np.uint8)


@torch.no_grad()
def _pseudo_labels(model: BaseSegmentor, item: dict) -> np.ndarray | None:
    """Let the teacher label a picture; None if there is none, or if it has not begun."""
    adaptations = getattr(model, 'adaptations', {}).values()
    teacher = next((one.teacher for one in adaptations if hasattr(one, 'teacher')), None)
    if teacher is None or not teacher.has_begun:
        return None
    inputs = model.data_preprocessor(pseudo_collate([item]), training=False)['inputs']
    scores = teacher.predict(inputs)
    height, width = item['data_samples'].img_shape[:2]
    return scores.argmax(1)[0, :height, :width].cpu().numpy()
