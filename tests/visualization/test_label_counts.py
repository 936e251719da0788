import pytest

from cda_mmseg.visualization.label_counts import plot_label_counts, read_last_scores

SCORES = """arm,seed,score,iteration,value
source_only,0,target/mIoU,10,20.0
source_only,0,target/mIoU,9,30.0
source_only,0,source/mIoU,10,60.0
source_and_5,0,target/mIoU,10,40.0
source_and_5,1,target/mIoU,10,44.0
source_and_20,0,target/mIoU,10,50.0
"""


@pytest.fixture
def scores(tmp_path):
    path = tmp_path / 'scores.csv'
    path.write_text(SCORES)
    return path


def test_the_last_snapshot_of_each_seed_counts(scores):
    expected = {'source_only': [20.0], 'source_and_5': [40.0, 44.0], 'source_and_20': [50.0]}
    assert read_last_scores(scores, 'target/mIoU') == expected


def test_the_curve_is_the_mean_over_seeds_and_every_seed_is_a_dot(scores):
    [axes] = plot_label_counts(read_last_scores(scores, 'target/mIoU'), 'target/mIoU').axes
    curve, *dots, level = axes.lines
    assert list(curve.get_ydata()) == [42.0, 50.0] and [text.get_text() for text in axes.get_xticklabels()] == [
        '5',
        '20',
    ]
    assert [list(dot.get_ydata()) for dot in dots] == [[40.0, 44.0], [50.0]]
    assert list(level.get_ydata()) == [20.0, 20.0]


def test_what_is_missing_is_named(scores):
    with pytest.raises(ValueError, match=r"scores\.csv has no 'mIoU', only source/mIoU, target/mIoU"):
        read_last_scores(scores, 'mIoU')
    with pytest.raises(ValueError, match='NAME_NUMBER: source_only'):
        plot_label_counts({'source_only': [20.0]}, 'target/mIoU')
