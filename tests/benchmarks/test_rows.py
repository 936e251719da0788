"""Rows: what they must hold, and when a bound is reached."""

import pytest

from benchmarks.plot import judge, plot_rows
from benchmarks.rows import check_row, format_table, reaches


def make_row(**changes) -> dict:
    row = dict(name='step', against='naive', ratio=0.55, must=0.6, aim=0.5, ours='11 ms', theirs='20 ms')
    return {**row, **changes}


@pytest.mark.parametrize(
    'changes, must, aim, look',
    [
        (dict(), True, False, 'aim missed'),
        (dict(ratio=0.5), True, True, 'all reached'),
        (dict(ratio=0.61), False, False, 'must missed'),
        (dict(ratio=9, must=4.0, aim=8.0, bigger_is_better=True), True, True, 'all reached'),
        (dict(ratio=4, must=4.0, aim=8.0, bigger_is_better=True), True, False, 'aim missed'),
        (dict(ratio=3.9, must=4.0, aim=8.0, bigger_is_better=True), False, False, 'must missed'),
        (dict(must=None), None, False, 'aim missed'),
        (dict(must=None, aim=None), None, None, 'nothing asked'),
    ],
)
def test_bounds(changes, must, aim, look):
    row = make_row(**changes)
    assert (reaches(row, 'must'), reaches(row, 'aim'), judge(row)) == (must, aim, look)


def test_table_says_what_is_reached():
    lines = format_table([make_row(), make_row(ratio=9, bigger_is_better=True), make_row(must=None, aim=None)])
    assert lines.splitlines()[2:] == [
        '| step | naive | 0.55× | ≤ 0.6× reached | ≤ 0.5× **missed** | 11 ms | 20 ms |',
        '| step | naive | 9.00× | ≥ 0.6× reached | ≥ 0.5× reached | 11 ms | 20 ms |',
        '| step | naive | 0.55× |  |  | 11 ms | 20 ms |',
    ]


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(ratio=float('nan')), "benchmarks.step: the ratio of 'step' is nan"),
        (dict(ratio=0.0), 'is 0.0'),
        (dict(more_is_better=True), "unknown ['more_is_better']"),
    ],
)
def test_rows_that_no_table_can_show(changes, message):
    with pytest.raises(ValueError) as error:
        check_row(make_row(**changes), 'step')
    assert message in str(error.value)


def test_a_row_that_lacks_something():
    row = make_row()
    del row['aim'], row['theirs']
    with pytest.raises(ValueError, match=r"'step' lacks \['aim', 'theirs'\]"):
        check_row(row, 'step')


def test_plot_has_a_bar_and_its_marks_for_every_row():
    rows = [make_row(), make_row(ratio=9, must=4, aim=8, bigger_is_better=True), make_row(must=None, aim=None)]
    panel = plot_rows({'step': rows[:1], 'data': rows[1:]}).axes[0]
    bars = panel.patches
    # A bar lies between 1 and its ratio, whichever is greater, and the first row is on top.
    ends = [sorted((bar.get_x(), bar.get_x() + bar.get_width())) for bar in bars]
    assert ends == [pytest.approx(pair) for pair in ([0.55, 1], [1, 9], [0.55, 1])]
    assert [bar.get_y() for bar in bars] == sorted(bar.get_y() for bar in bars) and panel.yaxis_inverted()
    marks = [(line.get_marker(), line.get_xdata()[0]) for line in panel.lines if line.get_marker() in '|D']
    assert marks == [('|', 0.6), ('D', 0.5), ('|', 4), ('D', 8)]
