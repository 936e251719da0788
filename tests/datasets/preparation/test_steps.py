import pytest

from cda_mmseg.datasets.preparation.steps import kept_steps

IMAGE, LABELS = dict(type='LoadImage'), dict(type='LoadLabelIds')
RESIZE, CROP = dict(type='Resize', scale=(8, 8), keep_ratio=True), dict(type='RandomCrop', crop_size=(4, 4))


@pytest.mark.parametrize(
    ('pipeline', 'labels', 'kept'),
    [
        ([IMAGE, LABELS, RESIZE, CROP], True, [IMAGE, LABELS, RESIZE]),
        ([IMAGE, LABELS, RESIZE, CROP], False, [IMAGE, RESIZE]),
        ([IMAGE, LABELS, CROP], True, [IMAGE, LABELS]),
        ([IMAGE, RESIZE, LABELS], False, [IMAGE, RESIZE]),
    ],
)
def test_steps_up_to_the_resize_are_kept(pipeline, labels, kept):
    assert kept_steps(pipeline, labels) == kept


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        ([IMAGE, CROP, RESIZE], 'RandomCrop stands before Resize'),
        ([IMAGE, dict(type='Resize', scale_factor=0.5)], 'Resize has no scale'),
        ([IMAGE, RESIZE, LABELS], 'LoadLabelIds stands after Resize'),
        ([LABELS, RESIZE], 'does not begin with an image loader'),
        ([], 'does not begin with an image loader'),
    ],
)
def test_other_pipelines_are_refused(pipeline, message):
    with pytest.raises(ValueError, match=message):
        kept_steps(pipeline, labels=True)
