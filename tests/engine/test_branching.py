"""A run that starts where another one stands."""

import pytest
import torch
from mmengine.runner import Runner

from cda_mmseg.engine import UDARunner, read_config
from cda_mmseg.utils.loading.errors import UnresumableCheckpointError
from tests.engine.real_runs import CONFIGS, differing, logged, state_of, train


@pytest.fixture
def world(smoke_worlds, monkeypatch):
    monkeypatch.chdir(smoke_worlds)


def branch(work_dir, parent, name='cl_gta2city', **changes) -> Runner:
    config = read_config(CONFIGS / 'smoke' / f'{name}.py')
    options = {
        'work_dir': str(work_dir),
        'experiment_name': str(work_dir).replace('/', '_'),
        'branch_from': str(parent),
        'train_cfg.max_iters': 6,
        'train_cfg.val_interval': 3,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.max_keep_ckpts': -1,
        'default_hooks.logger.interval': 1,
    }
    for loader in ('train', 'target', 'val', 'test'):
        options |= {f'{loader}_dataloader.num_workers': 0, f'{loader}_dataloader.persistent_workers': False}
    config.merge_from_dict({**options, **changes})
    runner = UDARunner.from_cfg(config)
    runner.train()
    return runner


def test_an_arm_like_its_parent_trains_what_the_parent_trains(world, tmp_path):
    """Weights, optimizers and schedulers, bit for bit; the learning rate drops on the way."""
    steps = [dict(type='MultiStepLR', by_epoch=False, milestones=[2, 5], gamma=0.1)]
    schedule = {'param_scheduler.encoder': steps}
    train(tmp_path / 'parent', **schedule)
    branch(tmp_path / 'arm', tmp_path / 'parent' / 'iter_4.pth', **schedule)
    parent, arm = (state_of(tmp_path / folder, 6) for folder in ('parent', 'arm'))
    for part in ('state_dict', 'optimizer'):
        assert differing(parent[part], arm[part]) == []
    rates = [[group['lr'] for group in state['optimizer']['encoder']['param_groups']] for state in (parent, arm)]
    assert rates[0] == rates[1] == pytest.approx([1e-5 * 0.01] * len(rates[0]))
    assert min(logged(tmp_path / 'arm')) == 5


def test_an_arm_with_new_players_takes_the_network_and_says_so(world, tmp_path):
    parent = train(tmp_path / 'parent', name='source_only_gta2city')
    runner = branch(
        tmp_path / 'arm', tmp_path / 'parent' / 'iter_3.pth', **{'optim_wrapper.encoder.optimizer.lr': 3e-5}
    )
    log = next((tmp_path / 'arm').glob('*/*.log')).read_text()
    assert 'branches off' in log and 'at iteration 3' in log
    assert 'started fresh: adaptations.image_adversary.discriminator, adaptations.image_adversary.generator' in log
    assert 'optimizer of the discriminator: fresh' in log
    assert "optimizer of the encoder: its state is taken, rates and weight decay are the config's" in log
    # Positions of the source go on; the target, which the parent did not read, begins.
    assert runner.train_loop.samples_consumed == dict(source=6, target=3)
    assert parent.train_loop.samples_consumed == dict(source=6)
    groups = runner.optim_wrapper['encoder'].optimizer.param_groups
    assert {group['lr'] for group in groups} == {3e-5}
    states = runner.optim_wrapper['encoder'].optimizer.state.values()
    assert {int(state['step']) for state in states} == {6}
    assert {int(state['step']) for state in runner.optim_wrapper['generator'].optimizer.state.values()} == {3}


def test_a_branch_begins_with_the_parents_weights(world, tmp_path):
    train(tmp_path / 'parent', name='source_only_gta2city')
    branch(tmp_path / 'arm', tmp_path / 'parent' / 'iter_5.pth', **{'optim_wrapper.encoder.optimizer.lr': 0.0})
    parent, arm = state_of(tmp_path / 'parent', 5)['state_dict'], state_of(tmp_path / 'arm', 6)['state_dict']
    assert all(torch.equal(value, arm[name]) for name, value in parent.items())


def test_resuming_with_other_adaptations_is_refused(world, tmp_path):
    train(tmp_path / 'parent', name='source_only_gta2city')
    checkpoint = str(tmp_path / 'parent' / 'iter_3.pth')
    with pytest.raises(UnresumableCheckpointError, match=r'adaptations none, the config has .*--branch-from'):
        train(tmp_path / 'other', resume=True, load_from=checkpoint)


def test_a_branch_that_would_be_over_is_refused(world, tmp_path):
    train(tmp_path / 'parent', name='source_only_gta2city')
    with pytest.raises(UnresumableCheckpointError, match=r'iteration 6, but train_cfg\.max_iters is 6'):
        branch(tmp_path / 'arm', tmp_path / 'parent' / 'iter_6.pth')


def test_a_run_of_the_older_layout_is_refused(world, tmp_path):
    train(tmp_path / 'run', name='source_only_gta2city')
    state = state_of(tmp_path / 'run', 3)
    state['state_dict']['generator.networks.both.weight'] = torch.zeros(1)
    torch.save(state, tmp_path / 'old.pth')
    with pytest.raises(UnresumableCheckpointError, match='older layout'):
        train(tmp_path / 'again', name='source_only_gta2city', resume=True, load_from=str(tmp_path / 'old.pth'))
