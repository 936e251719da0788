"""The grid of experiments, against the paper's text and the configs that users train."""

import math
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from cda_mmseg.engine.composition import read_config
from cda_mmseg.paper.composition import compose_config, main_losses, segmentation_loss, warm_start_end
from cda_mmseg.paper.data_settings import SETTINGS, find_setting
from cda_mmseg.paper.experiments import GTAV, READINGS, RIVALS, SYNTHIA, gan_cl, rival, source_only
from cda_mmseg.paper.schedule import scale_schedule
from cda_mmseg.paper.tables import TABLES

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PAPER_TABLES = [name for name in TABLES if name.startswith('table')]
EXPERIMENTS = {experiment.folder: experiment for table in TABLES.values() for experiment in table.experiments(READINGS)}


@pytest.fixture(scope='module')
def paper_text(shared_data):
    path = shared_data / 'paper' / 'conservative_loss_eccv2018.txt'
    if not path.is_file():
        pytest.skip(f'needs the text of the paper, {path}')
    return path.read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def stock(tmp_path_factory):
    """The setting of the paper's own downloads."""
    root = tmp_path_factory.mktemp('downloads')
    (root / 'cityscapes').mkdir()
    return find_setting(str(root))


def printed_lines(text, table):
    """Cells of the lines of a table, which the text separates by tabs."""
    body = text.split(f'Table {table.removeprefix("table")}: ', 1)[1].split('\n\n', 2)[1]
    return [
        [re.sub(r'<.*?>|\[\d+\]|\$|\\lambda', '', cell).strip() for cell in line.split('\t')]
        for line in body.split('\n')
    ]


@pytest.mark.parametrize('name', ['table1', 'table2'])
def test_competitors_and_ours_are_as_printed(paper_text, name):
    _, *lines = printed_lines(paper_text, name)
    assert len(lines) == len(TABLES[name].rows)
    for row, (method, base, *numbers) in zip(TABLES[name].rows, lines, strict=True):
        assert row.label.split(' ')[0] == method.split(' ')[0]
        assert row.base == base
        printed = {
            column: float(number)
            for column, number in zip(('mIoU', 'gain', 'mIoU-2'), numbers, strict=False)
            if number not in ('', '–')
        }
        assert dict(row.published) == printed


@pytest.mark.parametrize('name', ['table3', 'table4', 'table5', 'table6'])
def test_ablations_are_as_printed(paper_text, name):
    lines = printed_lines(paper_text, name)
    numbers = [float(cell) for line in lines if line[0] == 'mIoU' for cell in line[1:]]
    assert [row.published['mIoU'] for row in TABLES[name].rows] == numbers
    if name == 'table4':
        heads = [cell for line in lines if line[0] != 'mIoU' for cell in line[1:]]
        assert (
            [row.label.split(' = ')[1] for row in TABLES[name].rows]
            == heads
            == ['2', 'e', '3', '4', '1', '5', '10', '20']
        )


def test_printed_gains_are_differences_of_printed_scores():
    for name in ('table1', 'table2'):
        before = None
        for row in TABLES[name].rows:
            if 'NoAdapt' in row.label:
                before = row.published['mIoU']
            elif 'gain' in row.published:
                assert row.published['gain'] == pytest.approx(row.published['mIoU'] - before)


def test_the_same_model_has_the_same_number_everywhere():
    numbers = {}
    for name in PAPER_TABLES:
        for row in TABLES[name].rows:
            if row.experiment is not None:
                numbers.setdefault(row.experiment.folder, set()).add(row.published.get('mIoU'))
    assert {folder: len(values) for folder, values in numbers.items()} == dict.fromkeys(numbers, 1)
    assert sum(len(TABLES[name].rows) for name in PAPER_TABLES) == 7 + 7 + 3 + 8 + 3 + 6


def test_the_grid_has_every_value_the_paper_varies():
    losses = {
        folder: segmentation_loss(CONFIGS, experiment)
        for folder, experiment in EXPERIMENTS.items()
        if experiment.adversarial and experiment.reading == 'paper'
    }
    main = {folder: loss.main for folder, loss in losses.items() if loss.type == 'WarmStartLoss'}
    conservative = [loss for loss in main.values() if loss.type == 'ConservativeLoss']
    assert {loss.base for loss in conservative} == {2.0, math.e, 3.0, 4.0}
    assert {loss.loss_weight for loss in conservative if loss.base == math.e} == {1.0, 5.0, 10.0, 20.0}
    assert {loss.get('gradient', 'literal') for loss in conservative} == {'literal', 'reversed', 'weighted'}
    cold = losses['gta2city/gan_cl_cold']
    assert (cold.warm_fraction, cold.main.clamp, cold.main.loss_weight, cold.main.base) == (0, 10, 5, math.e)
    assert {loss.warm_fraction for folder, loss in losses.items() if loss.type == 'WarmStartLoss'} == {0, 0.5}
    assert sorted({loss.type for loss in main.values()}) == [
        'ConservativeLoss',
        'CubicLoss',
        'PiecewiseCubicLoss',
        'SoftmaxFocalLoss',
    ]
    assert losses['gta2city/gan_ce'].type == 'SoftmaxCrossEntropyLoss'
    # Every loss after a warm start can be measured, λ = 5 being the one of the name alone.
    assert {folder.split('/')[1] for folder in main} - {'gan_cl_cold'} == set(main_losses(CONFIGS))


def flatten(node, prefix=''):
    if not isinstance(node, dict):
        return {prefix: node}
    return {key: value for name, item in node.items() for key, value in flatten(item, f'{prefix}.{name}').items()}


def test_rows_differ_in_nothing_but_the_loss():
    leaf = flatten(read_config(CONFIGS / 'smoke' / 'gan_ce_gta2city.py')._cfg_dict)
    for experiment in EXPERIMENTS.values():
        if not experiment.adversarial or experiment.pair != GTAV:
            continue
        allowed = r'\.(model\.decode_head\.loss_decode|default_hooks\.(checkpoint|logger))\..*'
        factor = 1.0
        if experiment.reading == 'equal-ratio':
            allowed, factor = allowed + r'|\.model\.adaptations\.image_adversary\.encoder_adversarial_weight', 7.0
        config = compose_config(CONFIGS, SETTINGS['smoke'], experiment, adversarial_factor=factor)
        composed = flatten(config._cfg_dict)
        changed = {key for key in {*composed, *leaf} if composed.get(key) != leaf.get(key)}
        assert [key for key in changed if not re.fullmatch(allowed, key)] == []
        weight = '.model.adaptations.image_adversary.encoder_adversarial_weight'
        assert composed[weight] == factor * leaf[weight]
        if factor != 1:
            assert composed['.model.decode_head.loss_decode.warm.loss_weight'] == factor


@pytest.mark.parametrize(
    'name, pair, leaf',
    [
        ('worlds', GTAV, 'demo/cl_gta2city.py'),
        ('worlds', SYNTHIA, 'demo/cl_synthia2city.py'),
        ('smoke', SYNTHIA, 'smoke/cl_synthia2city.py'),
        ('airsim', GTAV, 'cl_airsim2camvid.py'),
        ('stock', GTAV, 'cl_gta2city.py'),
        ('stock', SYNTHIA, 'cl_synthia2city.py'),
    ],
)
def test_the_full_method_is_the_config_that_users_train_but_for_the_clamp(name, pair, leaf, stock):
    setting = stock if name == 'stock' else SETTINGS[name]
    composed = compose_config(CONFIGS, setting, gan_cl(pair=pair))
    wanted = read_config(CONFIGS / leaf)
    setting.place_data(wanted)
    assert wanted.model.decode_head.loss_decode.main.pop('clamp') == 3
    for key in ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'target_dataloader'):
        assert composed[key] == wanted[key], key
    if name == 'stock':
        assert composed.val_dataloader.dataset.datasets[0].data_root == f'{stock.root}/cityscapes'


@pytest.mark.parametrize('pair', [GTAV, SYNTHIA])
@pytest.mark.parametrize('method', ['fcns_in_the_wild', 'curriculum'])
def test_rivals_are_the_configs_that_users_train(method, pair, stock):
    composed = compose_config(CONFIGS, stock, rival(method, pair))
    wanted = read_config(CONFIGS / f'{method}_{pair}.py')
    stock.place_data(wanted)
    for key in ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'target_dataloader'):
        assert composed[key] == wanted[key], key


@pytest.mark.parametrize('name', [*SETTINGS, 'stock'])
def test_rivals_differ_from_the_baseline_in_adaptations_alone(name, stock):
    setting = stock if name == 'stock' else SETTINGS[name]
    for pair in setting.pairs:
        plain = flatten(compose_config(CONFIGS, setting, source_only(pair))._cfg_dict)
        for method in RIVALS:
            composed = flatten(compose_config(CONFIGS, setting, rival(method, pair))._cfg_dict)
            changed = {key for key in {*composed, *plain} if composed.get(key) != plain.get(key)}
            allowed = r'\.(model\.adaptations|(optim_wrapper|param_scheduler)\.\w+_discriminator)(\..*)?'
            if method == 'curriculum':
                allowed += r'|\.target_dataloader\.dataset\.pipeline'
            assert changed and [key for key in changed if not re.fullmatch(allowed, key)] == []


@pytest.mark.parametrize('name', ['table1', 'table2'])
def test_every_method_of_a_comparison_is_measured(name):
    measured = [row.label.split(' ')[0] for row in TABLES[name].rows if row.experiment is not None]
    assert measured == ['FCNWild', 'CDA', 'Tsai', 'Ours-NoAdapt', 'Ours']
    assert {row.experiment.pair for row in TABLES[name].rows if row.experiment is not None} == {TABLES[name].pair}


@pytest.mark.parametrize('name', [*SETTINGS, 'stock'])
def test_every_setting_has_the_configs_of_its_pairs(name, stock):
    setting = stock if name == 'stock' else SETTINGS[name]
    for pair in setting.pairs:
        for method in ('source_only', 'gan_ce'):
            assert (CONFIGS / setting.config_path(method, pair)).is_file()


def test_airsim_has_nothing_for_synthia():
    with pytest.raises(ValueError, match='AirSim → CamVid has nothing that stands for synthia2city'):
        compose_config(CONFIGS, SETTINGS['airsim'], gan_cl(pair=SYNTHIA))


def test_a_folder_that_is_no_data_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'--data .*: neither one of worlds, smoke, airsim nor a folder'):
        find_setting(str(tmp_path))


def test_a_setting_without_a_config_says_which(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'gan_ce_gta2city\.py, which built-in worlds needs'):
        compose_config(tmp_path, SETTINGS['worlds'], gan_cl())


def test_scale_shortens_schedule_and_warm_start_alike(stock):
    whole, half = (compose_config(CONFIGS, stock, gan_cl(), scale) for scale in (1.0, 0.3))
    assert (whole.train_cfg.max_iters, half.train_cfg.max_iters) == (100_000, 30_000)
    assert half.train_cfg.val_interval == 1500
    assert half.param_scheduler.encoder[0].milestones == [15_000]
    assert warm_start_end(half) == 15_000
    assert half.model.decode_head.loss_decode.warm_fraction == whole.model.decode_head.loss_decode.warm_fraction
    assert compose_config(CONFIGS, stock, gan_cl(), 0.3, validations=10).train_cfg.val_interval == 3000


@pytest.mark.parametrize('scale, iterations', [(1.0, 100_000), (0.00003, 3), (0.12345, 12_345)])
def test_the_end_of_the_warm_start_is_saved_and_kept(stock, scale, iterations):
    config = compose_config(CONFIGS, stock, EXPERIMENTS['gta2city/gan_ce'], scale)
    hook, last = config.default_hooks.checkpoint, config.train_cfg.max_iters
    assert last == iterations
    # mmengine saves where (done - save_begin) is a positive multiple of the interval, and at the end.
    saved = [n for n in range(1, last + 1) if n > hook.save_begin and (n - hook.save_begin) % hook.interval == 0]
    saved = sorted({*saved, last})
    assert warm_start_end(config) in saved[-hook.max_keep_ckpts :]


@pytest.mark.parametrize('scale', [0, -1, math.inf, math.nan])
def test_a_scale_without_meaning_is_refused(stock, scale):
    with pytest.raises(ValueError, match='scale must be a positive number'):
        compose_config(CONFIGS, stock, gan_cl(), scale)


def test_all_iteration_counts_of_a_scheduler_scale():
    config = Config(
        dict(
            train_cfg=dict(max_iters=600, val_interval=150),
            param_scheduler=dict(
                encoder=[
                    dict(type='LinearLR', by_epoch=False, start_factor=0.1, begin=0, end=50),
                    dict(type='PolyLR', by_epoch=False, begin=50, end=600, power=0.9),
                    dict(type='CosineAnnealingLR', by_epoch=False, T_max=7),
                ],
                generator=[],
            ),
            default_hooks=dict(logger=dict(interval=50), checkpoint=dict(interval=5000)),
        )
    )
    scale_schedule(config, 0.1)
    warm_up, poly, cosine = config.param_scheduler.encoder
    assert (warm_up.begin, warm_up.end, poly.begin, poly.end, poly.power, cosine.T_max) == (0, 5, 5, 60, 0.9, 1)
    assert (config.train_cfg.max_iters, config.train_cfg.val_interval) == (60, 15)
    assert (config.default_hooks.logger.interval, config.default_hooks.checkpoint.interval) == (3, 15)


def test_a_scheduler_of_epochs_is_refused():
    config = Config(
        dict(
            train_cfg=dict(max_iters=6, val_interval=1),
            param_scheduler=dict(encoder=[dict(type='MultiStepLR', milestones=[3])]),
        )
    )
    with pytest.raises(ValueError, match=r'param_scheduler\.encoder counts epochs'):
        scale_schedule(config, 0.5)
