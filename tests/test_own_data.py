"""Other people's data: few classes, other channels, class lists that differ, one image, with real files and Runner."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from cda_mmseg.datasets.pipelines import check_stock_loaders
from cda_mmseg.engine import UDARunner
from cda_mmseg.visualization.run_log import RunLog, read_run_log

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / '_base_'
IMAGE = {
    1: dict(type='LoadImageFromFile', color_type='grayscale'),
    3: dict(type='LoadImage'),
    4: dict(type='LoadImageFromFile', color_type='unchanged'),
    8: dict(type='LoadImageFromFile', color_type='unchanged', imdecode_backend='tifffile'),
}


def write_domain(folder: Path, ids: Sequence[int], channels: int, images: int, darkness: int) -> None:
    """Write pictures in which a class is a vertical stripe of its own brightness, and their labels."""
    noise = np.random.default_rng(darkness)
    for kind in ('images', 'labels'):
        (folder / kind).mkdir(parents=True)
    stripes = np.repeat(np.linspace(0, len(ids), 64, endpoint=False).astype(np.uint8)[None], 40, axis=0)
    for number in range(images):
        pixels = stripes[..., None] * (200 // len(ids)) + noise.integers(darkness, darkness + 50, (40, 64, channels))
        pixels = pixels.astype(np.uint8)
        if channels == 8:
            tifffile.imwrite(folder / 'images' / f'{number}.tif', pixels)
        else:
            cv2.imwrite(str(folder / 'images' / f'{number}.png'), pixels)
        cv2.imwrite(str(folder / 'labels' / f'{number}.png'), np.array(ids, np.uint8)[stripes])


def make_config(
    folder: Path,
    method: str = 'gan_self_training',
    classes: tuple[str, ...] = ('road', 'other'),
    channels: int = 3,
    images: int = 2,
    id_maps: dict[str, dict[int, int]] | None = None,
    steps: tuple[dict, ...] = (),
) -> Config:
    """Write both domains, and the config of a run of two iterations: cross entropy, then the Conservative Loss."""
    (folder / 'leaf.py').write_text(
        '_base_ = ['
        + ', '.join(
            f"'{CONFIGS}/{base}.py'"
            for base in ('models/fcn8s_vgg16', f'methods/{method}', 'schedules/adam_100k', 'default_runtime')
        )
        + ']\n'
    )
    config = Config.fromfile(folder / 'leaf.py')
    config.merge_from_dict(
        {
            'model.data_preprocessor.size': (32, 32),
            'model.backbone': dict(base_channels=4, fc_channels=16, init_cfg=None),
            'model.decode_head': dict(in_channels=[16, 32, 16], num_classes=len(classes)),
            'train_cfg': dict(max_iters=2, val_interval=2),
            'default_hooks.logger.interval': 1,
            'work_dir': str(folder / 'run'),
        }
    )
    if channels != 3:
        config.merge_from_dict(
            {
                'model.data_preprocessor': dict(mean=[128.0], std=[64.0], bgr_to_rgb=False),
                'model.backbone.in_channels': channels,
            }
        )
    if 'image_adversary' in config.adaptations:
        config.merge_from_dict(
            {
                'adaptations.image_adversary.generator': dict(base_channels=4, max_channels=16),
                'adaptations.image_adversary.discriminator': dict(base_channels=4),
            }
        )
    if 'self_training' in config.adaptations:
        config.adaptations.self_training.update(begin=0.0, threshold=0.5)
    config.source_loss = Config.fromfile(CONFIGS / 'methods' / 'gan_cl.py').source_loss

    def data(domain: str, pipeline: list[dict], **options) -> dict:
        return dict(
            type='BaseSegDataset',
            data_root=str(folder / domain),
            img_suffix='.tif' if channels == 8 else '.png',
            metainfo=dict(classes=classes, palette=[[number, 0, 0] for number in range(len(classes))]),
            pipeline=pipeline,
            **options,
        )

    both = dict(img_path='images', seg_map_path='labels')
    labels = {
        domain: dict(type='LoadLabelIds', id_map=id_maps[domain]) if id_maps else dict(type='LoadAnnotations')
        for domain in ('source', 'target')
    }
    rest = [*steps, dict(type='RandomCrop', crop_size=(32, 32)), dict(type='RandomFlip', prob=0.5)]
    loader = dict(batch_size=1, num_workers=0, sampler=dict(type='PositionSampler'))
    pack = dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain'))
    image = IMAGE[channels]
    config.train_dataloader = dict(
        **loader,
        dataset=data('source', [image, labels['source'], *rest, dict(type='PackSegInputs')], data_prefix=both),
    )
    config.target_dataloader = dict(
        **loader,
        dataset=data('target', [image, *rest, dict(type='PackSegInputs')], data_prefix=dict(img_path='images')),
    )
    config.val_dataloader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='BothDomainsDataset',
            datasets=[
                data(name, [image, labels[name], dict(type='TagDomain', domain=name), pack], data_prefix=both)
                for name in ('target', 'source')
            ],
        ),
    )
    config.val_evaluator = dict(type='DomainIoUMetric')
    config.test_dataloader = config.test_evaluator = config.test_cfg = None
    for number, name in enumerate(('source', 'target')):
        ids = list(id_maps[name] if id_maps else range(len(classes)))
        write_domain(folder / name, ids, channels, images, darkness=10 * (number + 1))
    return config


def train(config: Config) -> RunLog:
    """Train, and return the run's log."""
    UDARunner.from_cfg(config).train()
    return read_run_log(config.work_dir)


def check_both_methods(log: RunLog) -> None:
    """The paper's players and losses and self-training's were in force, and both domains were scored."""
    assert {
        'encoder.loss_adversarial',
        'generator.loss',
        'mixed.decode.loss_ce',
        'decode.loss_seg',
    } <= log.training.keys()
    assert {'target/IoU.road', 'target/mIoU', 'source/mIoU'} <= log.validation.keys()


@pytest.mark.parametrize('score_maps', [1, 2])
def test_two_classes_train_with_one_score_map_or_two(tmp_path, score_maps):
    config = make_config(tmp_path)
    config.model.decode_head.update(out_channels=score_maps, threshold=0.5)
    check_both_methods(train(config))


@pytest.mark.parametrize('channels', [1, 4, 8])
def test_images_of_other_channels_train(tmp_path, channels):
    check_both_methods(train(make_config(tmp_path, channels=channels)))


def test_one_image_per_domain_trains(tmp_path):
    log = train(make_config(tmp_path, images=1))
    check_both_methods(log)
    assert log.last('target/images').value == log.last('source/images').value == 1


def test_class_lists_that_differ_are_mapped_ignored_or_named(tmp_path):
    """The source's bus is ignored; nothing trains the target's tram, which is scored under its name."""
    maps = dict(source={7: 0, 26: 1, 33: 255}, target={1: 0, 2: 1, 5: 2})
    config = make_config(tmp_path, classes=('road', 'car', 'tram'), id_maps=maps)
    config.val_evaluator.class_lists = dict(mIoU_shared=['road', 'car'])
    log = train(config)
    scores = {name: series.values[-1] for name, series in log.validation.items()}
    shared = np.mean([scores['target/IoU.road'], scores['target/IoU.car']])
    assert scores['target/mIoU_shared'] == pytest.approx(shared, abs=0.02)
    assert 'target/IoU.tram' in scores
    [text] = [file.read_text() for file in (tmp_path / 'run').glob('*/*.log')]
    assert 'classes without labels in the source, which nothing trains: tram\n' in text


def test_domains_scored_in_one_pass_need_one_list_of_classes(tmp_path):
    config = make_config(tmp_path, 'source_only')
    config.val_dataloader.dataset.datasets[1].metainfo = dict(classes=('road', 'sky'))
    init_default_scope('mmseg')
    with pytest.raises(ValueError, match='number 0 has road, other, and number 1 has road, sky'):
        DATASETS.build(config.val_dataloader.dataset)


def test_the_classes_that_are_scored_are_those_that_were_trained(tmp_path):
    config = make_config(tmp_path, 'source_only')
    for data in config.val_dataloader.dataset.datasets:
        data.metainfo = dict(classes=('road', 'sky'))
    with pytest.raises(ValueError, match='has the classes road, sky, but training has the classes road, other'):
        train(config)


@pytest.mark.parametrize('step', ['PhotoMetricDistortion', 'RandomGrayscale', 'RGB2Gray'])
@pytest.mark.parametrize('channels', [1, 4])
def test_colour_operations_are_refused_by_name(tmp_path, step, channels):
    options = dict(prob=1.0) if step == 'RandomGrayscale' else {}
    config = make_config(tmp_path, 'source_only', channels=channels, steps=(dict(type=step, **options),))
    init_default_scope('mmseg')
    dataset = DATASETS.build(config.target_dataloader.dataset)
    check_stock_loaders(dataset)
    with pytest.raises(ValueError, match=rf'target/images/0.png: {step} .* has {channels} channels, not 3'):
        dataset[0]


def test_jitter_of_other_channels_is_left_out_by_name(tmp_path):
    config = make_config(tmp_path, 'self_training', channels=4)
    UDARunner.from_cfg(config)
    [text] = [file.read_text() for file in (tmp_path / 'run').glob('*/*.log')]
    assert 'SelfTraining: of its jitter only the blur is in force, because images of 4 channels' in text


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            {'model.backbone.in_channels': 3},
            'val_dataloader.dataset.datasets.0: the network takes 3 channels and gets 4',
        ),
        ({'model.data_preprocessor': dict(mean=[0.0] * 3, std=[1.0] * 3)}, 'gives 4 channels, but .* has 3 means'),
        (
            {'val_dataloader.dataset.datasets.1.pipeline.0.color_type': 'color'},
            'val_dataloader.dataset.datasets.1: the network takes 4 channels and gets 3',
        ),
        (
            {'train_dataloader.dataset.pipeline.0.color_type': 'color'},
            'training images of the source: the network takes 4 channels and gets 3',
        ),
    ],
    ids=['network', 'means', 'validation', 'training'],
)
def test_channels_that_do_not_fit_are_found_before_the_first_step(tmp_path, change, words):
    config = make_config(tmp_path, 'source_only', channels=4)
    config.merge_from_dict(change)
    with pytest.raises(ValueError, match=words):
        train(config)
    assert not list((tmp_path / 'run').glob('**/scalars.json'))
