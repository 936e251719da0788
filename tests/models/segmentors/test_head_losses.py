"""Losses from scores that are already there, against mmseg's own."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from cda_mmseg.models.segmentors.head_losses import head_losses

init_default_scope('mmseg')
CROSS_ENTROPY = dict(type='CrossEntropyLoss', loss_weight=0.4)


@pytest.mark.parametrize(
    'options',
    [
        dict(loss_decode=CROSS_ENTROPY),
        dict(loss_decode=[CROSS_ENTROPY, dict(type='DiceLoss', loss_weight=3.0)]),
        dict(loss_decode=[CROSS_ENTROPY, CROSS_ENTROPY]),
        dict(loss_decode=CROSS_ENTROPY, sampler=dict(type='OHEMPixelSampler', thresh=0.5, min_kept=10)),
        dict(loss_decode=CROSS_ENTROPY, align_corners=True),
    ],
    ids=['one', 'two', 'the same twice', 'hard pixels', 'aligned corners'],
)
def test_terms_are_those_of_loss_by_feat(options):
    head = MODELS.build(dict(type='FCNHead', in_channels=4, channels=4, num_classes=5, **options))
    scores = torch.randn(2, 5, 8, 12)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 5, (1, 32, 48)))) for _ in range(2)]
    expected = head.loss_by_feat(scores, samples)
    labels = torch.cat([sample.gt_sem_seg.data for sample in samples])
    ours = head_losses(head, scores, labels)
    assert {**ours, 'acc_seg': expected['acc_seg']}.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in ours.items())
    assert head_losses(head, scores, labels, with_accuracy=True).keys() == expected.keys()
