"""The paired loop in a real Runner, on real files."""

import pytest
import torch

from cda_mmseg.engine import PositionedDataset
from cda_mmseg.engine.checkpointing import find_resume_point
from cda_mmseg.engine.loops import PairedIterator
from tests.engine.real_runs import differing, logged, state_of, train


@pytest.fixture
def world(smoke_worlds, monkeypatch):
    monkeypatch.chdir(smoke_worlds)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(world, tmp_path, workers):
    """Weights, optimizers, schedulers, losses and scores, with dropout and noise on."""
    train(tmp_path / 'whole', workers=workers)
    resumed_from = str(tmp_path / 'whole' / 'iter_4.pth')
    train(tmp_path / 'resumed', workers=0, resume=True, load_from=resumed_from)
    whole, resumed = (state_of(tmp_path / folder, 6) for folder in ('whole', 'resumed'))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert differing(whole[part], resumed[part]) == []
    assert differing(whole['state_dict'], state_of(tmp_path / 'whole', 5)['state_dict']) != []
    expected = {step: values for step, values in logged(tmp_path / 'whole').items() if step > 4}
    # Values are averages over the last ten steps: the history, too, came back.
    assert logged(tmp_path / 'resumed') == expected
    assert find_resume_point(str(tmp_path / 'resumed')).samples_consumed == {'source': 6, 'target': 6}


def test_resuming_decodes_no_sample_that_was_trained_before(world, tmp_path, monkeypatch):
    train(tmp_path / 'whole')
    read = []
    original = PositionedDataset.__getitem__
    monkeypatch.setattr(
        PositionedDataset, '__getitem__', lambda self, position: read.append(position) or original(self, position)
    )
    train(tmp_path / 'resumed', resume=True, load_from=str(tmp_path / 'whole' / 'iter_4.pth'))
    assert sorted(read) == [4, 4, 5, 5]


def test_both_families_ways_of_catching_up_arrive_at_the_same_position(world, tmp_path):
    """OneDL's mmengine calls skip_iter(n), OpenMMLab's calls next() n times."""
    runner = train(tmp_path / 'run')
    loop = runner.train_loop
    loop._iter = 2
    runner.message_hub.update_info('samples_consumed', {'source': 2, 'target': 2})
    batches = []
    for catch_up in (lambda iterator: iterator.skip_iter(2), lambda iterator: (next(iterator), next(iterator))):
        iterator = PairedIterator(loop)
        catch_up(iterator)
        batches.append(next(iterator))
    for domain in ('source', 'target'):
        first, second = (batch[domain]['inputs'][0] for batch in batches)
        assert torch.equal(first, second)
        assert torch.equal(first, loop.loaders[domain].dataset[2]['inputs'])


def test_the_domains_draw_different_indices(world, tmp_path):
    loop = train(tmp_path / 'run', name='gan_ce_gta2city').train_loop
    orders = [[loader.dataset.order.index(position) for position in range(6)] for loader in loop.loaders.values()]
    assert orders[0] != orders[1]


def test_the_terms_of_an_adaptation_that_ended_leave_the_log(world, tmp_path):
    """mmengine alone would repeat their last values to the end of the run; after resuming as well."""
    end = {'model.adaptations.image_adversary.end': 0.5}
    train(tmp_path / 'whole', name='gan_ce_gta2city', **end)
    steps = logged(tmp_path / 'whole')
    terms = {'generator.loss', 'discriminator.loss', 'discriminator.accuracy', 'encoder.loss_adversarial'}
    assert all((terms <= steps[step].keys()) == (step <= 3) for step in range(1, 7))
    assert not any(terms & steps[step].keys() for step in range(4, 7))
    train(
        tmp_path / 'resumed',
        name='gan_ce_gta2city',
        resume=True,
        load_from=str(tmp_path / 'whole' / 'iter_3.pth'),
        **end,
    )
    assert logged(tmp_path / 'resumed') == {step: values for step, values in steps.items() if step > 3}


def test_the_config_names_the_order_of_a_loader(world, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    order = dict(type='RareClassOrder', temperature=0.1, min_pixels=5, min_crop_share=0.2)
    loaders = train(tmp_path / 'run', name='gan_ce_gta2city', **{'train_dataloader.order': order}).train_loop.loaders
    assert [type(loader.dataset.order).__name__ for loader in loaders.values()] == [
        'RareClassOrder',
        'PermutationOrder',
    ]


def test_source_only_loads_no_target(world, tmp_path):
    changes = {'target_dataloader.dataset.data_root': 'nowhere'}
    assert list(train(tmp_path / 'run', name='source_only_gta2city', **changes).train_loop.loaders) == ['source']


def test_methods_share_the_order_of_the_source(world, tmp_path):
    loops = [train(tmp_path / name, name=name).train_loop for name in ('source_only_gta2city', 'cl_gta2city')]
    samples = [[loop.loaders['source'].dataset[position]['inputs'] for position in range(10)] for loop in loops]
    assert all(torch.equal(one, other) for one, other in zip(*samples, strict=True))


def test_warm_start_ends_at_half_of_the_run(world, tmp_path):
    train(tmp_path / 'run', **{'model.decode_head.loss_decode.main.clamp': None})
    steps = logged(tmp_path / 'run')
    # Near 19 equal probabilities cross entropy is ln 19 = 2.94, 5 CL is 20.4; the log averages over the steps so far.
    losses = [steps[step]['decode.loss_seg'] for step in range(1, 7)]
    assert losses[:3] == pytest.approx([2.94] * 3, abs=0.1)
    assert losses[3:] == pytest.approx([(3 * 2.94 + k * 20.4) / (3 + k) for k in (1, 2, 3)], rel=0.1)


def test_wrong_loaders_are_named(world, tmp_path):
    with pytest.raises(ValueError, match=r"train_dataloader\.sampler must be dict\(type='PositionSampler'\)"):
        train(tmp_path / 'run', **{'train_dataloader.sampler': dict(type='InfiniteSampler', _delete_=True)})
    with pytest.raises(TypeError, match='target_dataloader must be a dict'):
        train(tmp_path / 'other', target_dataloader=None)
