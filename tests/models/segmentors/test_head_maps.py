"""What heads read of the maps: right settings pass, wrong ones are named by their key before the first step."""

import pytest
import torch
from mmengine.registry import init_default_scope

from cda_mmseg.models.segmentors.head_maps import head_maps_compared
from tests.models.segmentors.tiny_model import build, model_config

init_default_scope('mmseg')
LOSS = dict(type='CrossEntropyLoss', avg_non_ignore=True)
NECK = dict(type='FPN', in_channels=[16, 32, 16], out_channels=8, num_outs=3)


def head(in_channels: object, in_index: object, transform: str | None = None) -> dict:
    options = dict(channels=4, num_convs=1, num_classes=5, loss_decode=LOSS, input_transform=transform)
    return dict(type='FCNHead', in_channels=in_channels, in_index=in_index, **options)


def embed(**changes: object) -> None:
    model = build(model_config(type='UDASegmentor', **changes))
    with head_maps_compared(model.encoder):
        model.encoder.embed(torch.zeros(1, 3, 32, 48))
    assert not model.backbone._forward_hooks


@pytest.mark.parametrize(
    'changes',
    [
        dict(decode_head=head(32, 1)),
        dict(decode_head=head(16, -1)),
        dict(decode_head=head([16, 16], [0, 2], 'resize_concat')),
        dict(decode_head=head(8, 2), neck=NECK, auxiliary_head=[head(8, 0), head(8, 1)]),
    ],
)
def test_heads_that_fit_pass(changes):
    embed(**changes)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(decode_head=head(32, 3)), r'model\.decode_head\.in_index=3, but model\.backbone gives 3 maps'),
        (
            dict(decode_head=head([16, 17], [0, 2], 'resize_concat')),
            r'model\.decode_head\.in_channels=33, but the maps \[0, 2\] of model\.backbone have \[16, 16\] channels',
        ),
        (
            dict(decode_head=head(8, 2), neck=NECK, auxiliary_head=head(32, 1)),
            r'model\.auxiliary_head\.in_channels=32, but the maps \[1\] of model\.neck have \[8\] channels',
        ),
        (
            dict(decode_head=head(8, 2), neck=NECK, auxiliary_head=[head(8, 0), head(8, 4)]),
            r'model\.auxiliary_head\.1\.in_index=4, but model\.neck gives 3 maps',
        ),
    ],
)
def test_heads_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        embed(**changes)


def test_a_segmentor_that_is_not_told_how_to_predict_takes_whole_images():
    model = build(model_config()).eval()
    [prediction] = model.test_step(dict(inputs=[torch.zeros(3, 32, 48)], data_samples=None))
    assert prediction.pred_sem_seg.data.shape == (1, 32, 48)
