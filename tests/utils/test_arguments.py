"""What a replacement of a host's class does not take is one error that lists what it takes."""

import re

import pytest
import torch

from cda_mmseg.datasets import GTAVDataset, SynthiaDataset
from cda_mmseg.engine import AutocastOptimWrapper, PositionSampler
from cda_mmseg.engine.hooks import AtomicCheckpointHook
from cda_mmseg.evaluation import DomainIoUMetric
from cda_mmseg.models.backbones import VGG, EfficientNetLite0
from cda_mmseg.models.decode_heads import FCN8sHead


@pytest.mark.parametrize(
    ('build', 'known'),
    [
        (GTAVDataset, ['data_root', 'ann_file', 'filter_cfg', 'reduce_zero_label']),
        (SynthiaDataset, ['data_root', 'ann_file']),
        (FCN8sHead, ['norm_cfg', 'num_classes']),
        (VGG, ['pretrained', 'init_cfg']),
        (EfficientNetLite0, ['pretrained']),
        (AtomicCheckpointHook, ['save_optimizer', 'save_best', 'out_dir', 'published_keys']),
        (AutocastOptimWrapper, ['loss_scale', 'clip_grad']),
        (PositionSampler, ['dataset', 'seed', 'start']),
        (DomainIoUMetric, ['iou_metrics', 'format_only', 'keep_results', 'output_dir']),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else '',
)
def test_unknown_arguments_are_answered_with_the_known_ones(build, known):
    start = re.escape(f'{build.__name__} does not take misspelt, other. It takes ')
    with pytest.raises(TypeError, match=start) as error:
        build(misspelt=1, other=torch.zeros(1))
    taken = str(error.value).split('It takes ')[1].rstrip('.').split(', ')
    assert set(known) <= set(taken) and 'self' not in taken
