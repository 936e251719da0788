"""Shares of several data sets, against counting."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import BaseDataset, ConcatDataset

from cda_mmseg.engine.orders import SharesOrder


class Numbers(BaseDataset):
    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__()

    def load_data_list(self) -> list[dict]:
        return [dict(number=number) for number in range(self.length)]


def concatenated(*lengths: int) -> ConcatDataset:
    return ConcatDataset([Numbers(length) for length in lengths])


@settings(max_examples=30)
@given(
    shares=st.lists(st.integers(1, 99), min_size=2, max_size=4),
    seed=st.integers(0, 2**62),
    start=st.integers(0, 10**9),
)
def test_shares_are_kept_in_every_window(shares, seed, start):
    lengths = [3, 50, 7, 20][: len(shares)]
    order = SharesOrder(concatenated(*lengths), seed, shares)
    bounds = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    window = 200
    indices = [order.index(position) for position in range(start, start + window)]
    drawn = Counter(next(number for number, bound in enumerate(bounds) if index < bound) for index in indices)
    for number, share in enumerate(shares):
        # A share of a rest of a rest: each split rounds once.
        assert abs(drawn[number] - window * share / sum(shares)) <= len(shares)


def test_each_part_is_drawn_once_per_epoch_of_its_own():
    order = SharesOrder(concatenated(4, 100), 3, [0.5, 0.5])
    of_the_small_part = [index for index in map(order.index, range(80)) if index < 4]
    assert len(of_the_small_part) == 40
    for epoch in range(10):
        assert sorted(of_the_small_part[4 * epoch : 4 * epoch + 4]) == [0, 1, 2, 3]


def test_a_position_has_its_sample_whatever_was_asked_before():
    order = SharesOrder(concatenated(5, 9, 2), 1, [0.2, 0.3, 0.5])
    answers = [order.index(position) for position in (10**9, 3, 77, 3)]
    assert answers == [SharesOrder(concatenated(5, 9, 2), 1, [0.2, 0.3, 0.5]).index(p) for p in (10**9, 3, 77, 3)]


def test_wrong_use_is_named():
    with pytest.raises(TypeError, match='needs a ConcatDataset, got a Numbers'):
        SharesOrder(Numbers(3), 0, [1.0])
    with pytest.raises(ValueError, match='must be 2 positive numbers'):
        SharesOrder(concatenated(2, 3), 0, [1.0])
    with pytest.raises(ValueError, match='must be 2 positive numbers'):
        SharesOrder(concatenated(2, 3), 0, [1.0, 0.0])
