"""Tables of many runs, against NumPy and a textbook."""

import numpy as np
import pytest

from cda_mmseg.experiments.score_table import last_scores, paired_difference, score_lines, score_table


def results_of(**arms) -> dict:
    return {
        arm: {seed: {'target/mIoU': {'100': 0.0, '200': value, '50': 99.0}} for seed, value in enumerate(values)}
        for arm, values in arms.items()
    }


def test_the_last_snapshot_counts_whatever_the_order():
    assert last_scores(results_of(a=[3.0, 4.0]), 'a', 'target/mIoU') == {0: 3.0, 1: 4.0}


def test_differences_are_paired_by_seed():
    one, other = {0: 40.0, 1: 50.0, 2: 45.0, 7: 0.0}, {0: 35.0, 1: 43.0, 2: 42.0, 9: 99.0}
    mean, half, pairs = paired_difference(one, other)
    differences = np.array([5.0, 7.0, 3.0])
    assert (mean, pairs) == (5.0, 3)
    assert half == pytest.approx(4.303 * differences.std(ddof=1) / 3**0.5, rel=1e-3)


def test_intervals_of_many_seeds_are_students_too():
    one = {seed: float(seed % 3) for seed in range(21)}
    _, half, pairs = paired_difference(one, dict.fromkeys(one, 0.0))
    # 2.086 for 20 degrees of freedom, as every textbook's table has it
    assert pairs == 21 and half == pytest.approx(2.086 * np.std(list(one.values()), ddof=1) / 21**0.5, rel=1e-3)


def test_every_validation_is_a_line():
    assert score_lines(results_of(a=[3.0], b=[4.5])).splitlines()[:3] == [
        'arm,seed,score,iteration,value',
        'a,0,target/mIoU,100,0.0',
        'a,0,target/mIoU,200,3.0',
    ]


def test_a_table_has_means_differences_and_the_gap_closed():
    results = results_of(base=[30.0, 34.0], method=[35.0, 41.0], oracle=[50.0, 54.0])
    lines = score_table(results, ['target/mIoU'], 'base', 'oracle').splitlines()
    assert lines[0] == '| arm | seeds | target/mIoU | target/mIoU − base | gap closed |'
    assert lines[2] == '| base | 2 | 32.00 ± 2.83 |  |  |'
    half = 12.706 * np.array([5.0, 7.0]).std(ddof=1) / 2**0.5
    assert lines[3] == f'| method | 2 | 38.00 ± 4.24 | +6.00 ± {half:.2f} | 30% |'
    assert lines[4].endswith('|  |')


def test_one_seed_has_no_interval():
    assert '| method | 1 | 35.00 | +5.00 |' in score_table(
        results_of(base=[30.0], method=[35.0]), ['target/mIoU'], 'base'
    )


def test_arms_without_a_common_seed_have_no_difference():
    results = {'base': results_of(a=[30.0])['a'], 'method': {7: results_of(a=[35.0])['a'][0]}}
    assert score_table(results, ['target/mIoU'], 'base').endswith('| method | 1 | 35.00 |  |\n')


def test_an_oracle_that_is_no_better_closes_no_gap():
    results = results_of(base=[30.0], method=[35.0], oracle=[30.0])
    assert '| method | 1 | 35.00 | +5.00 |  |' in score_table(results, ['target/mIoU'], 'base', 'oracle')
