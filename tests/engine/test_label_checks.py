"""Labels that are not what the pipeline takes them for."""

import logging
from contextlib import contextmanager, nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from cda_mmseg.datasets.label_ids import CITYSCAPES_IDS
from cda_mmseg.engine.data_checks import check_class_order
from cda_mmseg.engine.label_checks import check_labels_as_read

IDS = [7, 8, 11, 17, 21, 23, 26]
TRAIN_IDS = np.array([CITYSCAPES_IDS.get(number, 255) for number in range(256)], np.uint8)


@pytest.fixture
def make(tmp_path):
    """Return a function that writes six pairs of 40x60 and builds a data set of them."""
    init_default_scope('mmseg')

    def build(steps, labels='ids', classes=19):
        random = np.random.default_rng(0)
        for number in range(6):
            ids = random.choice(IDS, (40, 60)).astype(np.uint8)
            values = {'ids': ids, 'classes': TRAIN_IDS[ids], 'reduced': TRAIN_IDS[ids] + 1}[labels]
            Image.fromarray(values).save(tmp_path / f'{number}.png')
            cv2.imwrite(str(tmp_path / f'{number}.jpg'), random.integers(0, 255, (40, 60, 3), dtype=np.uint8))
        return DATASETS.build(
            dict(
                type='BaseSegDataset',
                data_root=str(tmp_path),
                data_prefix=dict(img_path='', seg_map_path=''),
                metainfo=dict(classes=[str(number) for number in range(classes)]),
                pipeline=[*steps, dict(type='PackSegInputs')],
            )
        )

    return build


IMAGE, IDS_READER, CLASSES_READER = dict(type='LoadImage'), dict(type='LoadLabelIds'), dict(type='LoadAnnotations')
HALF = dict(type='Resize', scale=(30, 20), keep_ratio=True)


@pytest.mark.parametrize('reader, labels', [(IDS_READER, 'ids'), (CLASSES_READER, 'classes')])
def test_labels_that_are_read_as_what_they_are_pass(make, reader, labels):
    dataset = make([IMAGE, reader, HALF, dict(type='RandomFlip', prob=0.5)], labels)
    check_labels_as_read(dataset, 'train_dataloader.dataset', is_training=True)


def test_class_numbers_read_as_ids_are_refused(make):
    dataset = make([IMAGE, IDS_READER], 'classes')
    with pytest.raises(ValueError, match=r'^x: the labels look like class numbers already.*0\.png.*LoadAnnotations'):
        check_labels_as_read(dataset, 'x', is_training=True)
    with pytest.raises(ValueError, match='class numbers already'):
        check_labels_as_read(dataset, 'x', is_training=False)


def test_ids_read_as_class_numbers_are_refused(make):
    with pytest.raises(ValueError, match=r'0\.png holds \[21, 23, 26\].*LoadLabelIds'):
        check_labels_as_read(make([IMAGE, CLASSES_READER], 'ids'), 'x', is_training=True)


def test_values_from_one_on_are_refused_where_the_last_is_no_class(make):
    with pytest.raises(ValueError, match=r'holds \[14\].*reduce_zero_label=True'):
        check_labels_as_read(make([IMAGE, CLASSES_READER], 'reduced', classes=14), 'x', is_training=True)


@pytest.mark.parametrize('step', [HALF, dict(type='RandomFlip', prob=1.0), dict(type='RandomCrop', crop_size=(20, 20))])
def test_what_changes_the_image_before_its_label_is_read_is_refused_in_training(make, step):
    dataset = make([IMAGE, step, CLASSES_READER], 'classes')
    with pytest.raises(ValueError, match='changes the image before it reads the label'):
        check_labels_as_read(dataset, 'x', is_training=True)
    check_labels_as_read(dataset, 'x', is_training=False)


def test_parts_of_a_concatenation_are_named(make):
    part = make([IMAGE, IDS_READER], 'classes')
    both = DATASETS.build(dict(type='ConcatDataset', datasets=[part, part]))
    with pytest.raises(ValueError, match=r'^x\.datasets\.0: '):
        check_labels_as_read(both, 'x', is_training=True)


def test_labels_that_nobody_reads_are_not_opened(make, tmp_path):
    dataset = make([IMAGE])
    for path in Path(tmp_path).glob('*.png'):
        path.unlink()
    check_labels_as_read(dataset, 'x', is_training=True)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.model.update(auxiliary_head=dict(AUXILIARY)), r'model\.auxiliary_head\.num_classes is 6.* has 19'),
        (lambda c: cut_classes(c), r'num_classes is 19, but val_dataloader\.dataset has 18 classes'),
        (lambda c: read_validation_as_classes(c), r'^val_dataloader\.dataset\.datasets\.0: .*LoadLabelIds'),
    ],
)
def test_a_run_stops_before_its_first_step(smoke_config, tmp_path, change, message):
    from cda_mmseg.engine import UDARunner

    config = smoke_config('source_only_gta2city')
    config.work_dir = str(tmp_path / 'run')
    change(config)
    with pytest.raises(ValueError, match=message):
        UDARunner.from_cfg(config).train()
    assert not list((tmp_path / 'run').glob('*.pth'))


AUXILIARY = dict(
    type='FCNHead', in_channels=32, in_index=1, channels=8, num_convs=1, num_classes=6, norm_cfg=None,
    loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
)  # fmt: skip


def cut_classes(config) -> None:
    from mmseg.datasets import CityscapesDataset

    for part in config.val_dataloader.dataset.datasets:
        part.metainfo = dict(classes=CityscapesDataset.METAINFO['classes'][:18])


def read_validation_as_classes(config) -> None:
    pipeline = config.val_dataloader.dataset.datasets[0].pipeline
    next(step for step in pipeline if step.type == 'LoadLabelIds').update(type='LoadAnnotations')
    for step in pipeline:
        if step.type == 'LoadAnnotations':
            step.pop('encoding'), step.pop('id_map')


def renamed(tmp_path, make, steps, ending):
    """Let the labels of a data set have names with this ending."""
    make(steps)
    for path in Path(tmp_path).glob('*.png'):
        path.rename(path.with_name(f'{path.stem}{ending}'))
    return DATASETS.build(
        dict(
            type='BaseSegDataset',
            data_root=str(tmp_path),
            data_prefix=dict(img_path='', seg_map_path=''),
            seg_map_suffix=ending,
            metainfo=dict(classes=[str(number) for number in range(19)]),
            pipeline=steps,
        )
    )


def test_names_that_say_train_ids_are_believed(make, tmp_path):
    dataset = renamed(tmp_path, make, [IMAGE, IDS_READER], '_gtFine_labelTrainIds.png')
    with pytest.raises(ValueError, match=r"by its name .*0_gtFine_labelTrainIds\.png.*Set id_map='train_ids'"):
        check_labels_as_read(dataset, 'x', is_training=True)


@pytest.mark.parametrize('converted', [1, 3])
def test_some_converted_labels_are_warned_of(make, tmp_path, converted):
    dataset = make([IMAGE, IDS_READER])
    with logged() as lines:
        check_labels_as_read(dataset, 'x', is_training=True)
    assert lines == []
    for number in range(converted):
        path = tmp_path / f'{number}.png'
        Image.fromarray(TRAIN_IDS[np.array(Image.open(path))]).save(path)
    with logged() as lines:
        check_labels_as_read(dataset, 'x', is_training=True)
    assert [line for line in lines if f'x: {converted} of 6 labels, such as {tmp_path}/0.png, look as if' in line]


def test_train_ids_have_an_id_map(make):
    dataset = make([IMAGE, dict(type='LoadLabelIds', id_map='train_ids')], 'classes')
    check_labels_as_read(dataset, 'x', is_training=True)
    assert set(np.unique(dataset[0]['data_samples'].gt_sem_seg.data)) == {0, 1, 2, 5, 8, 10, 13}
    with pytest.raises(ValueError, match="'train_ids' id_map"):
        check_labels_as_read(make([IMAGE, dict(type='LoadLabelIds', id_map='train_ids')]), 'x', is_training=True)


def test_ids_of_another_scheme_are_named(make, tmp_path):
    """SYNTHIA's ids in 8 bits, read as those of Cityscapes."""
    dataset = make([IMAGE, IDS_READER])
    for path in Path(tmp_path).glob('*.png'):
        Image.fromarray(np.random.default_rng(0).choice([1, 2, 3, 4, 6, 10], (40, 60)).astype(np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"look like .*as against 100%\. Set id_map='"):
        check_labels_as_read(dataset, 'x', is_training=True)


@pytest.mark.parametrize('value, count', [(0, 1), (255, 1)])
def test_empty_labels_are_warned_of(make, tmp_path, value, count, caplog):
    dataset = make([IMAGE, IDS_READER])
    for path in Path(tmp_path).glob('*.png'):
        Image.fromarray(np.full((40, 60), value, np.uint8)).save(path)
    with logged() as lines:
        check_labels_as_read(dataset, 'x', is_training=True)
    assert [line for line in lines if 'only 0.0% of the pixels of 6 labels' in line]


@contextmanager
def logged():
    """Collect what the current logger says."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def test_labels_that_are_resized_for_validation_are_refused(make):
    dataset = make([IMAGE, IDS_READER, HALF])
    with pytest.raises(ValueError, match=r'after Resize the label .*0\.png has 30x20 .*file, 60x40\. Let LoadLabelIds'):
        check_labels_as_read(dataset, 'x', is_training=False)


def test_a_label_of_another_size_is_refused(make, tmp_path):
    dataset = make([IMAGE, CLASSES_READER], 'classes')
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / '0.png')
    with pytest.raises(ValueError, match=r'0\.png has 30x20 pixels, its image 60x40'):
        check_labels_as_read(dataset, 'x', is_training=True)


@pytest.mark.parametrize('damaged', [1, 6])
def test_damaged_files_are_passed_over_if_others_can_be_read(make, tmp_path, damaged):
    dataset = make([IMAGE, IDS_READER])
    for number in range(damaged):
        (tmp_path / f'{number}.png').write_bytes(b'')
    with pytest.raises(ValueError, match='empty label file') as caught:
        check_labels_as_read(dataset, 'x', is_training=True)
    assert any('0.jpg before the run' in note for note in caught.value.__notes__)
    expectation = nullcontext() if damaged == 1 else pytest.raises(ValueError, match='empty label file')
    with expectation:
        check_labels_as_read(dataset, 'x', is_training=True, skips_damaged=True)


def test_looking_at_labels_leaves_the_callers_randomness_and_threads_alone(make):
    dataset = make([IMAGE, IDS_READER, dict(type='RandomFlip', prob=0.5)])
    threads = cv2.getNumThreads()
    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    check_labels_as_read(dataset, 'x', is_training=True)
    assert np.random.rand() == expected and cv2.getNumThreads() == threads


def test_the_order_of_classes_must_be_that_of_training():
    class Named:
        def __init__(self, *classes):
            self.metainfo = dict(classes=classes)

    check_class_order(Named('road', 'car'), Named('road', 'car'), 'x')
    with pytest.raises(ValueError, match='x has the classes road, tree, but training has the classes road, car'):
        check_class_order(Named('road', 'car'), Named('road', 'tree'), 'x')
    with pytest.raises(ValueError, match='x has the classes car, road, but training has them in the order road, car'):
        check_class_order(Named('road', 'car'), Named('car', 'road'), 'x')


def test_test_data_is_checked_before_it_is_scored(smoke_config, tmp_path):
    from cda_mmseg.engine import UDARunner

    config = smoke_config('source_only_gta2city')
    config.work_dir = str(tmp_path / 'run')
    pipeline = config.test_dataloader.dataset.datasets[1].pipeline
    pipeline.append(pipeline.pop(next(place for place, step in enumerate(pipeline) if step.type == 'Resize')))
    pipeline.append(pipeline.pop(next(place for place, step in enumerate(pipeline) if step.type == 'PackSegInputs')))
    config.merge_from_dict({'test_dataloader.dataset.datasets.1.pipeline.3.scale': (32, 32)})
    with pytest.raises(ValueError, match=r'^test_dataloader\.dataset\.datasets\.1: after Resize the label'):
        UDARunner.from_cfg(config).test()
