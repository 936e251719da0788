"""What a run says of itself at its start, and settings that it would not follow."""

import json

import pytest

from cda_mmseg.engine import read_config
from tests.engine.log_files import block_of, log_of
from tests.engine.real_runs import CONFIGS, state_of, train


@pytest.fixture
def world(smoke_worlds, monkeypatch):
    monkeypatch.chdir(smoke_worlds)


def test_a_run_says_what_is_in_force(world, tmp_path):
    train(tmp_path / 'run', **{'model.adaptations.image_adversary.begin': 0.5})
    assert 'Iterations 0 to 6, seed 0. In force:' in log_of(tmp_path / 'run')
    schedule = 'MultiStepLR(begin=0, by_epoch=False, end=6, gamma=0.1, milestones=[50000], param_name=lr)'
    assert block_of(tmp_path / 'run') == [
        'source loss, decode: SoftmaxCrossEntropyLoss until iteration 3, then ConservativeLoss × 5',
        'adaptation image_adversary: ImageAdversary, iterations 3 to 6',
        'player discriminator: Adam, lr 0.0001, weight_decay 0; schedule: none',
        'player generator: Adam, lr 0.0001, weight_decay 0; schedule: none',
        f'player encoder: Adam, lr 1e-05, weight_decay 0; schedule: {schedule}',
        'trained on source: 8 images, 1 at a time, PermutationOrder',
        'trained on target: 8 images, 1 at a time, PermutationOrder',
        'scored every 3 iterations and at the end: 4 images of target, 2 images of source (DomainIoUMetric)',
    ]
    assert 'custom_hooks replaces' not in log_of(tmp_path / 'run')
    # before the first step
    assert log_of(tmp_path / 'run').index('In force') < log_of(tmp_path / 'run').index('Iter(train)')


def test_an_adaptation_of_no_iteration_is_named(world, tmp_path):
    within_one = {
        f'model.adaptations.image_adversary.{key}': share for key, share in dict(begin=0.51, end=0.52).items()
    }
    train(tmp_path / 'run', **within_one)
    assert log_of(tmp_path / 'run').count('The adaptation image_adversary takes part in none of the 6 iterations') == 1


def test_what_is_off_is_told_so(world, tmp_path):
    train(tmp_path / 'run', name='source_only_gta2city', val_cfg=None, val_dataloader=None, val_evaluator=None)
    block = block_of(tmp_path / 'run')
    assert 'no adaptation: the source alone' in block and 'scored: nothing (no val_cfg)' in block
    assert not any('target' in line for line in block)


def test_a_resumed_run_tells_the_rates_of_its_config(world, tmp_path):
    train(tmp_path / 'whole')
    changes = {'optim_wrapper.encoder.optimizer.lr': 5e-4, 'train_cfg.max_iters': 5}
    train(tmp_path / 'resumed', resume=True, load_from=str(tmp_path / 'whole' / 'iter_3.pth'), **changes)
    assert 'Iterations 3 to 5' in log_of(tmp_path / 'resumed')
    assert any(line.startswith('player encoder: Adam, lr 0.0005,') for line in block_of(tmp_path / 'resumed'))
    assert state_of(tmp_path / 'resumed', 5)['optimizer']['encoder']['param_groups'][0]['lr'] == 5e-4


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'param_scheduler.encoder': [dict(type='MultiStepLR', milestones=[2])]},
            r'param_scheduler\.encoder\[0\] \(MultiStepLR\) would never change anything: .* Set by_epoch=False',
        ),
        (
            {'param_scheduler.discriminatr': [dict(type='MultiStepLR', by_epoch=False, milestones=[2])]},
            r"param_scheduler has keys \['discriminatr'\], but UDASegmentor has only \['discriminator', 'generator'",
        ),
        (
            {'val_evaluator': dict(type='IoUMetric', _delete_=True)},
            r'val_evaluator: IoUMetric would give one score for the pixels of all domains \(source, target\)',
        ),
    ],
)
def test_settings_that_the_run_would_not_follow_are_errors(world, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / 'run', **changes)
    assert 'Iter(train)' not in log_of(tmp_path / 'run')


def test_a_schedule_that_waits_for_scores_counts_validations(world, tmp_path):
    plateau = dict(type='ReduceOnPlateauLR', monitor='target/mIoU', rule='greater', patience=0, factor=0.5)
    train(tmp_path / 'run', **{'param_scheduler.encoder': [plateau], 'train_cfg.val_interval': 1})
    assert state_of(tmp_path / 'run', 6)['optimizer']['encoder']['param_groups'][0]['lr'] < 1e-5


def test_one_domain_may_be_scored_by_mmsegs_metric(world, tmp_path):
    target = read_config(CONFIGS / 'smoke' / 'cl_gta2city.py').val_dataloader.dataset.datasets[0]
    train(
        tmp_path / 'run',
        **{
            'val_dataloader.dataset': dict(target, _delete_=True),
            'val_evaluator': dict(type='IoUMetric', _delete_=True),
        },
    )
    assert block_of(tmp_path / 'run')[-1].endswith('4 images of target (IoUMetric)')


def test_replaced_hooks_are_missed_once(world, tmp_path):
    train(tmp_path / 'run', custom_hooks=[dict(type='StopHook')])
    log = log_of(tmp_path / 'run')
    assert log.count("Add to it dict(type='BoundedHistoryHook'), without which every iteration is slower") == 1
    assert "dict(type='StopHook')" not in log[log.index('custom_hooks replaces') :].split('\n')[0]


def test_each_players_gradient_norm_has_a_name_of_its_own(world, tmp_path):
    clip = {
        'optim_wrapper.encoder.clip_grad': dict(max_norm=1.0),
        'optim_wrapper.discriminator.clip_grad': dict(max_norm=1.0),
    }
    train(tmp_path / 'run', **clip)
    lines = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text().splitlines()
    keys = set().union(*(json.loads(line) for line in lines))
    assert {key for key in keys if 'grad_norm' in key} == {'encoder.grad_norm', 'discriminator.grad_norm'}
