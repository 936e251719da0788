import pytest

from cda_mmseg.experiments.label_counts import plot_label_counts
from cda_mmseg.experiments.score_table import read_score_lines, score_lines

RESULTS = {
    'source_only': {0: {'target/mIoU': {'9': 30.0, '10': 20.0}, 'source/mIoU': {'10': 60.0}}},
    'source_and_5': {0: {'target/mIoU': {'10': 40.0}}, 1: {'target/mIoU': {'10': 44.0}}},
    'source_and_20': {0: {'target/mIoU': {'10': 50.0}}},
}


def test_lines_are_read_as_they_were_written():
    assert read_score_lines(score_lines(RESULTS)) == RESULTS


def test_the_curve_is_the_mean_over_last_snapshots_and_every_seed_is_a_dot():
    [axes] = plot_label_counts(RESULTS, 'target/mIoU').axes
    curve, *dots, level = axes.lines
    assert list(curve.get_ydata()) == [42.0, 50.0] and [text.get_text() for text in axes.get_xticklabels()] == [
        '5',
        '20',
    ]
    assert [list(dot.get_ydata()) for dot in dots] == [[40.0, 44.0], [50.0]]
    assert list(level.get_ydata()) == [20.0, 20.0]


def test_every_arm_is_drawn_unless_levels_are_chosen():
    many = RESULTS | {f'level{letter}': RESULTS['source_only'] for letter in 'abcdef'}
    many |= {f'curve{letter}_5': RESULTS['source_and_5'] for letter in 'abcdefgh'}
    assert len(plot_label_counts(many, 'target/mIoU').legends[0].texts) == 7 + 9
    assert len(plot_label_counts(many, 'target/mIoU', ['levela']).legends[0].texts) == 1 + 9


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match='NAME_NUMBER: source_only'):
        plot_label_counts({'source_only': RESULTS['source_only']}, 'target/mIoU')
    with pytest.raises(ValueError, match='no arms without a number: nothing; there are source_only'):
        plot_label_counts(RESULTS, 'target/mIoU', ['nothing'])
