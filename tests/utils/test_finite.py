"""Looking for NaN and infinity, compared with NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cda_mmseg.utils.finite import describe_non_finite, has_non_finite

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@given(
    values=st.lists(
        st.lists(st.sampled_from([0.0, -1.0, 1e-40, 65504.0, 3e38, -3e38, math.inf, -math.inf, math.nan]), max_size=20),
        max_size=4,
    ),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=4, max_size=4),
)
def test_agrees_with_numpy(values, dtypes):
    tensors = [torch.tensor(row, dtype=dtype) for row, dtype in zip(values, dtypes, strict=False)]
    expected = not all(np.isfinite(tensor.double().numpy()).all() for tensor in tensors)
    assert has_non_finite([*tensors, torch.arange(3)]).item() == expected


@pytest.mark.parametrize('dtype', DTYPES)
def test_the_largest_numbers_are_finite(dtype):
    """Their sum of squares is not."""
    tensors = [torch.full((5, 3), torch.finfo(dtype).max, dtype=dtype), torch.tensor(True), torch.zeros(0)]
    assert not has_non_finite(tensors)
    assert describe_non_finite(tensors, {}) == ''


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('place', [0, 1234, 9999])
def test_one_number_among_many(bad, place):
    tensors = [torch.randn(100, 100), torch.randn(100, 100).t(), torch.randn(10000)[::2]]
    tensors[1].t().view(-1)[place] = bad
    assert has_non_finite(tensors).item() is True


def test_names_what_is_not_finite():
    weights = {'first.weight': torch.ones(2), 'second.bias': torch.tensor([1.0, math.nan])}
    optimizers = {'encoder': {'state': {3: {'exp_avg_sq': torch.tensor(math.inf)}}, 'param_groups': [{'lr': 1e-3}]}}
    assert describe_non_finite(weights, optimizers) == (
        '2 of 3 tensors, as second.bias, optimizer.encoder.state.3.exp_avg_sq'
    )
