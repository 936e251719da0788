"""A few labelled pictures of the target beside the source, in a real Runner on real files."""

import shutil

import pytest
from mmengine.config import Config

from cda_mmseg.engine import PositionSampler, compose, read_config
from tests.engine.log_files import block_of
from tests.engine.real_runs import CONFIGS, differing, state_of, train

UNSCORED = {'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None}


@pytest.fixture
def few(smoke_worlds, tmp_path, monkeypatch):
    """A ``labelled_target``: three pictures of their own, with labels in Cityscapes' ids."""
    monkeypatch.chdir(smoke_worlds)
    val = smoke_worlds / 'data' / 'worlds' / 'smoke_gta2city' / 'cityscapes'
    for kind, suffix in (('leftImg8bit', '_leftImg8bit.png'), ('gtFine', '_gtFine_labelIds.png')):
        for number, path in enumerate(sorted((val / kind / 'val').rglob(f'*{suffix}'))[:3]):
            (tmp_path / 'few' / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / 'few' / kind / f'{number}{suffix}')
    return labelled(str(tmp_path / 'few'))


def labelled(root: str, images: str = 'leftImg8bit', labels: str = 'gtFine', **loader) -> dict:
    loader = loader or dict(type='LoadLabelIds', encoding='index', id_map='cityscapes')
    return dict(
        share=0.5,
        dataset=dict(
            type='CityscapesDataset',
            data_root=root,
            data_prefix=dict(img_path=images, seg_map_path=labels),
            seg_map_suffix='_gtFine_labelIds.png',
            pipeline=[
                dict(type='LoadImage'),
                loader,
                dict(type='RandomCrop', crop_size=(32, 64)),
                dict(type='PackSegInputs'),
            ],
        ),
    )


def test_labelled_pictures_are_mixed_into_the_source_and_resumed_bit_for_bit(few, tmp_path):
    short = {**UNSCORED, 'train_cfg.max_iters': 4}
    runner = train(tmp_path / 'whole', labelled_target=few, **short)
    assert block_of(tmp_path / 'whole')[-4:-1] == [
        'trained on source: 11 images, 1 at a time, SharesOrder',
        'labelled_target: 3 of these images, drawn for 0.5 of all samples',
        'trained on target: 8 images, 1 at a time, PermutationOrder',
    ]
    source = runner.train_loop.loaders['source'].dataset
    files = [source.dataset.get_data_info(source.order.index(position))['img_path'] for position in range(4)]
    assert [str(tmp_path / 'few') in path for path in files] == [False, True] * 2
    assert len(set(files)) == 4
    train(
        tmp_path / 'resumed',
        labelled_target=few,
        resume=True,
        load_from=str(tmp_path / 'whole' / 'iter_2.pth'),
        **short,
    )
    whole, resumed = (state_of(tmp_path / folder, 4) for folder in ('whole', 'resumed'))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert differing(whole[part], resumed[part]) == []


def test_two_processes_draw_what_one_with_twice_the_batch_draws(few, tmp_path):
    changes = {**UNSCORED, 'train_cfg.max_iters': 1}
    few['share'] = 0.25
    runner = train(tmp_path / 'run', labelled_target=few, name='source_only_gta2city', **changes)
    loader = runner.train_loop.loaders['source']
    drawn = []
    for rank, processes in ((0, 1), (0, 2), (1, 2)):
        sampler = PositionSampler(loader.dataset)
        sampler.rank, sampler.world_size = rank, processes
        positions = iter(sampler)
        drawn.append([loader.dataset.order.index(next(positions)) for _ in range(12 // processes)])
    assert drawn[0] == [index for pair in zip(*drawn[1:], strict=True) for index in pair]
    # behind the eight pictures of the source come those with labels
    assert sum(index >= 8 for index in drawn[0]) == 3


def test_rare_classes_of_the_source_are_drawn_as_before(few, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    order = dict(type='RareClassOrder', temperature=0.05, min_pixels=1)
    runner = train(
        tmp_path / 'run',
        labelled_target=few,
        name='source_only_gta2city',
        **UNSCORED,
        **{'train_dataloader.order': order, 'train_cfg.max_iters': 1},
    )
    dataset = runner.train_loop.loaders['source'].dataset
    # of the labelled pictures a crop will do whatever it shows
    assert dataset.order.max_draws == 10 and dataset.order.accepts(dataset[1], 1)
    assert [dataset.order.index(position) >= 8 for position in range(4)] == [False, True] * 2


def test_a_data_set_without_a_type_differs_from_the_sources():
    source = dict(type='BaseSegDataset', data_root='a', data_prefix=dict(img_path='i', seg_map_path='l'), pipeline=[1])
    config = Config(
        dict(
            model=dict(),
            train_dataloader=dict(dataset=source),
            labelled_target=dict(share=0.2, dataset=dict(data_root='b', ann_file='few.txt')),
        )
    )
    compose(config)
    assert config.labelled_target.dataset == dict(source, data_root='b', ann_file='few.txt')
    compose(config)
    assert config.labelled_target.dataset == dict(source, data_root='b', ann_file='few.txt')
    assert config.train_dataloader.dataset == source


@pytest.mark.parametrize(
    'wrong', [dict(dataset={}), dict(dataset={}, share=1), dict(dataset={}, share=0.5, order={}), 'few.txt']
)
def test_what_is_no_data_set_with_a_share_is_refused(wrong):
    config = Config(dict(model=dict(), train_dataloader=dict(dataset=dict(type='A')), labelled_target=wrong))
    with pytest.raises(ValueError, match='labelled_target must be dict'):
        compose(config)
    joined = dict(type='ConcatDataset', datasets=[])
    config = dict(model=dict(), train_dataloader=dict(dataset=joined), labelled_target=dict(dataset={}, share=0.5))
    with pytest.raises(ValueError, match='needs a type'):
        compose(Config(config))


VAL = 'data/worlds/smoke_gta2city/cityscapes'


def without_labels(config: dict) -> None:
    config['dataset']['pipeline'].pop(1)


def with_fewer_classes(config: dict) -> None:
    config['dataset']['metainfo'] = dict(classes=('road', 'car'), palette=[[0, 0, 0], [9, 9, 9]])


def from_validation(config: dict) -> None:
    config['dataset'].update(labelled(VAL, 'leftImg8bit/val', 'gtFine/val')['dataset'])


def as_class_numbers(config: dict) -> None:
    config['dataset']['pipeline'][1] = dict(type='LoadAnnotations')


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (without_labels, r'labelled_target\.dataset\.pipeline loads no labels'),
        (with_fewer_classes, r'labelled_target\.dataset has the classes road, car, but train_dataloader'),
        (from_validation, r'val_dataloader\.dataset\.datasets\.0: 4 of 4 images, such as .* are trained on'),
        (as_class_numbers, r'labelled_target\.dataset: .* but the data set has the classes 0 to 18'),
    ],
)
def test_data_that_cannot_be_meant_is_refused_before_the_first_step(few, tmp_path, spoil, message):
    spoil(few)
    with pytest.raises(ValueError, match=message):
        train(tmp_path / 'run', name='source_only_gta2city', labelled_target=few)
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_a_source_without_labels_is_refused(few, tmp_path):
    without_labels(few)
    dataset = dict(few['dataset'], _delete_=True)
    with pytest.raises(ValueError, match=r'train_dataloader\.dataset\.pipeline loads no labels'):
        train(tmp_path / 'run', name='source_only_gta2city', **{'train_dataloader.dataset': dataset})


def test_pictures_of_the_source_are_refused_as_labelled_target(few, tmp_path):
    same = read_config(CONFIGS / 'smoke' / 'source_only_gta2city.py').train_dataloader.dataset
    with pytest.raises(ValueError, match=r'all 8 images of labelled_target\.dataset'):
        train(tmp_path / 'run', name='source_only_gta2city', labelled_target=dict(share=0.5, dataset=same))
