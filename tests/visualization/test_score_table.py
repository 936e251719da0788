import math

import numpy as np
import pytest

from cda_mmseg.visualization.run_log import RunLog, Series
from cda_mmseg.visualization.score_table import format_score_table, write_score_table


def make_run(name, **scores):
    """Make a run validated at 50 and 100; a score is given as the two values."""
    steps = np.array([50, 100])
    return RunLog(name, {}, {key.replace('__', '/'): Series(steps, np.array(values)) for key, values in scores.items()})


def cells(text):
    """Split the tables of a Markdown text into cells, separators left out."""
    lines = [line for line in text.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if '---' not in line]


LABELED = make_run(
    'source only',
    target__mIoU=[31.25, 28.0],
    target__mIoU16=[33.0, 30.5],
    target__share_distance=[4.0, 5.0],
    target__images=[3, 3],
    **{'target__IoU.road': [80, 81.126], 'target__IoU.bus': [math.nan, math.nan], 'target__share.road': [1, 1]},
    source__mIoU=[50.0, 60.0],
    source__mIoU16=[51.0, 61.0],
)
BARE = make_run('no labels', source__mIoU=[40, 41], target__share_distance=[9, 8], target__entropy=[70, 60])


def test_rows_are_the_last_snapshots_and_the_oracle_stands_apart():
    header, labeled, bare, classes, *per_class = cells(format_score_table([LABELED, BARE]))
    assert dict(zip(header, labeled, strict=True)) == {
        'run': 'source only',
        'iterations': '100',
        'source mIoU': '60.00',
        'target mIoU': '28.00',
        'best target mIoU (oracle, at iteration)': '31.25 (50)',
        'source mIoU16': '61.00',
        'target mIoU16': '30.50',
        'target share distance': '5.00',
        'target entropy': '–',
    }
    assert bare == ['no labels', '100', '41.00', '–', '–', '–', '–', '8.00', '60.00']
    assert classes == ['run', 'road', 'bus']
    assert per_class == [['source only', '81.13', '–'], ['no labels', '–', '–']]


def test_the_second_table_is_optional_and_notes_follow():
    text = format_score_table([LABELED], per_class=False, notes=['Source: 500 training images.'])
    assert len(cells(text)) == 2
    assert text.endswith('\nSource: 500 training images.\n')
    assert 'chooses by target labels' in text or 'by target labels' in text


def test_the_file_is_written(tmp_path):
    path = write_score_table([LABELED], tmp_path / 'new' / 'scores.md', notes=['–'])
    assert path.read_text(encoding='utf-8') == format_score_table([LABELED], notes=['–'])


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match='at least one run'):
        format_score_table([])


def test_a_bar_in_a_name_does_not_split_its_cell():
    assert r'| a\|b |' in format_score_table([make_run('a|b', target__mIoU=[1, 2])])


def test_several_targets_have_columns_behind_that_of_their_mean():
    scores = {
        'source/mIoU': 60,
        'target/mIoU': 30,
        'target_fog/mIoU': 20,
        'target_day/mIoU': 40,
        'target_day/mIoU4': 50,
    }
    apart = make_run('apart', **{name: [0, value] for name, value in scores.items()})
    header, row, bare = cells(format_score_table([apart, BARE]))[:3]
    expected = ['60.00', '30.00', '40.00', '20.00']
    assert header[2:6] == ['source mIoU', 'target mIoU', 'target_day mIoU', 'target_fog mIoU']
    assert row[2:6] == expected
    assert bare[2:6] == ['41.00', '–', '–', '–']
    assert row[header.index('target_day mIoU4')] == '50.00'
