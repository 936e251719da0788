"""Sample order and augmentation are functions of (seed, global position)."""

import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseg.structures import SegDataSample
from torch.utils.data import DataLoader, Dataset

from cda_mmseg.engine import PermutationOrder, PositionedDataset, PositionSampler
from cda_mmseg.utils.randomness import seeded_sample, seeded_torch, stable_hash


class Draws(Dataset):
    """Give what three generators draw, as transforms would; chosen samples are damaged."""

    metainfo = dict(classes=('a',))

    def __init__(self, length: int, damaged: tuple[int, ...] = ()) -> None:
        self.length, self.damaged = length, damaged

    def __len__(self) -> int:
        return self.length

    def get_data_info(self, index: int) -> dict:
        return dict(img_path=f'{index}.png')

    def __getitem__(self, index: int) -> dict:
        if index in self.damaged:
            raise ValueError('truncated')
        draws = [random.random(), np.random.rand(), torch.rand(1).item()]
        return dict(index=index, draws=draws, data_samples=SegDataSample())


def load(seed, start, number, rank=0, world_size=1, workers=0, dataset=None):
    positioned = PositionedDataset(dataset or Draws(7), seed)
    sampler = PositionSampler(positioned, start=start)
    sampler.rank, sampler.world_size = rank, world_size
    loader = DataLoader(
        positioned, sampler=sampler, batch_size=1, num_workers=workers, collate_fn=lambda batch: batch[0]
    )
    iterator = iter(loader)
    return [(sample['index'], *sample['draws']) for sample in (next(iterator) for _ in range(number))]


def test_setting_the_epoch_changes_nothing():
    """As in mmengine's InfiniteSampler, which it takes the place of."""
    sampler = PositionSampler(PositionedDataset(Draws(7), 0), start=3)
    sampler.set_epoch(5)
    assert [position for position, _ in zip(sampler, range(4), strict=False)] == [3, 4, 5, 6]


@given(length=st.integers(1, 200), seed=st.integers(0, 2**62), epoch=st.integers(0, 10**6))
def test_every_epoch_is_a_permutation(length, seed, epoch):
    order = PermutationOrder(Draws(length), seed)
    assert sorted(order.index(epoch * length + place) for place in range(length)) == list(range(length))


@given(seed=st.integers(0, 2**62), positions=st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_order_does_not_depend_on_what_was_asked_before(seed, positions):
    order = PermutationOrder(Draws(50), seed)
    answers = [order.index(position) for position in positions]
    assert answers == [PermutationOrder(Draws(50), seed).index(position) for position in positions]


def test_orders_differ_between_epochs_and_seeds():
    order = PermutationOrder(Draws(100), 0)
    first, second = ([order.index(epoch * 100 + place) for place in range(100)] for epoch in (0, 1))
    assert first != second
    assert first != [PermutationOrder(Draws(100), 1).index(place) for place in range(100)]


@pytest.mark.parametrize('workers', [0, 2])
def test_a_run_that_goes_on_sees_what_an_uninterrupted_one_sees(workers):
    whole = load(3, 0, 20, workers=workers)
    assert load(3, 0, 8) + load(3, 8, 12, workers=workers) == whole
    assert len({draws for _, *draws in map(tuple, whole) for draws in [tuple(draws)]}) == 20


@pytest.mark.parametrize('world_size', [2, 3])
def test_processes_share_one_order(world_size):
    shares = [load(3, 4, 6, rank, world_size) for rank in range(world_size)]
    together = [sample for turn in zip(*shares, strict=True) for sample in turn]
    assert together == load(3, 4, 6 * world_size)


def test_going_from_one_process_to_two_and_back_uses_every_position_once():
    samples = load(5, 0, 6) + load(5, 6, 4, 0, 2) + load(5, 6, 4, 1, 2) + load(5, 14, 7)
    assert Counter(samples) == Counter(load(5, 0, 21))


def test_reading_a_sample_leaves_the_callers_randomness_alone():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    PositionedDataset(Draws(7), 3)[5]
    assert draw() == expected


def test_a_damaged_file_stops_the_run_with_its_name():
    dataset = PositionedDataset(Draws(7, damaged=(2,)), 0)
    with pytest.raises(ValueError, match='truncated') as caught:
        for position in range(7):
            dataset[position]
    assert any('2.png' in note for note in caught.value.__notes__)


def test_a_damaged_file_can_be_skipped_and_is_noted():
    dataset = PositionedDataset(Draws(7, damaged=(2, 4)), 0, on_error='skip')
    samples = [dataset[position] for position in range(70)]
    indices = [sample['index'] for sample in samples]
    assert not {2, 4} & set(indices)
    noted = [entry for sample in samples for entry in sample['data_samples'].metainfo.get('skipped', [])]
    assert len(noted) >= 20 and {entry for entry in noted} == {'2.png: truncated', '4.png: truncated'}
    healthy = [PositionedDataset(Draws(7), 0)[position] for position in range(70)]
    assert all(one['draws'] == other['draws'] for one, other in zip(samples, healthy, strict=True))


def test_nothing_readable_is_an_error_and_not_an_endless_loop():
    dataset = PositionedDataset(Draws(3, damaged=(0, 1, 2)), 0, on_error='skip')
    with pytest.raises(ValueError, match='20 samples in a row'):
        dataset[0]


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match='no samples'):
        PermutationOrder(Draws(0), 0)
    with pytest.raises(ValueError, match="'ignore'"):
        PositionedDataset(Draws(3), 0, on_error='ignore')
    with pytest.raises(TypeError, match='UDATrainLoop'):
        PositionSampler(Draws(3))


def test_stable_hash_is_the_same_in_another_process():
    code = "from cda_mmseg.utils.randomness import stable_hash; print(stable_hash(1, 'order', 2))"
    others = {
        subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env=environment).stdout
        for environment in ({'PYTHONHASHSEED': '1', 'PYTHONPATH': '.'}, {'PYTHONHASHSEED': '2', 'PYTHONPATH': '.'})
    }
    assert others == {f'{stable_hash(1, "order", 2)}\n'}
    # SHA-256 of "(1, 'order', 2)", first 63 bits, from sha256sum.
    assert stable_hash(1, 'order', 2) == int('c1b69e32da4fb641', 16) >> 1


def test_seeded_blocks_nest():
    with seeded_torch(1, torch.device('cpu')):
        outer = torch.rand(1)
        with seeded_sample(2):
            inner = torch.rand(1)
        after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), outer) and torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    assert torch.equal(torch.rand(1), inner)
