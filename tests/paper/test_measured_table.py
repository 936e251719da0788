"""What the written tables say, against the same numbers worked out by hand."""

import statistics
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cda_mmseg.paper.data_settings import SETTINGS
from cda_mmseg.paper.experiments import READINGS, gan_ce, gan_cl, gan_with, source_only
from cda_mmseg.paper.gradient_sizes import GradientSizes
from cda_mmseg.paper.measured_table import measure_table
from cda_mmseg.paper.paper_sweep import Point, PointResult
from cda_mmseg.paper.statistics import gains, summarize
from cda_mmseg.paper.table_files import format_html, write_table
from cda_mmseg.paper.tables import TABLES
from cda_mmseg.visualization.run_log import RunLog, Series

SIZES = GradientSizes(
    iteration=300,
    batches=8,
    adversarial_weight=0.001,
    adversarial=2.0,
    cross_entropy=0.5,
    losses={
        **dict.fromkeys(('gan_cl_base_2', 'gan_cl_base_3', 'gan_cl_base_4', 'gan_loss2', 'gan_loss3'), 1.0),
        'gan_cl': 45.0,
        'gan_cl_weight_1': 9.0,
        'gan_cl_weight_10': 90.0,
        'gan_cl_weight_20': 180.0,
        'gan_focal': 5.0,
        'gan_loss1': 1.0,
    },
)
TARGETS = {
    'source_only': (30.0, 32.0, 31.0),
    'gan_ce': (34.0, 37.0, 33.0),
    'gan_cl': (40.0, 38.0, 39.0),
    'gan_cl_equal_ratio': (36.0, 35.0),
    'gan_focal': (35.0,),
}


def make_result(experiment, seed, target, folder='runs'):
    """A run of two validations: the last one scored ``target``, the one before a point more."""
    steps = np.array([300, 600])

    def series(*values):
        return Series(steps, np.array(values, dtype=float))

    validation = {
        'target/mIoU': series(target + 1, target),
        'source/mIoU': series(60, 70 + seed),
        'target/IoU.road': series(80, 90 + target / 10),
        'target/IoU.sky': series(np.nan, np.nan),
    }
    log = RunLog(str(experiment), {'loss': series(2, 1)}, validation)
    seconds = None if seed == 2 else 90.0
    return PointResult(Point(experiment, seed), Path(folder), log, seconds)


@pytest.fixture
def results():
    experiments = [source_only(), gan_ce(), gan_cl(), gan_cl().read('equal-ratio'), gan_with('gan_focal')]
    return {
        experiment.folder: {
            seed: make_result(experiment, seed, target)
            for seed, target in enumerate(TARGETS[experiment.folder.removeprefix('gta2city/')])
        }
        for experiment in experiments
    }


def rows_of(table):
    return [dict(zip(table.field_names, row, strict=True)) for row in table.rows]


@given(st.lists(st.floats(0, 100), min_size=2, max_size=6))
def test_summaries_are_means_and_sample_deviations(values):
    summary = summarize(dict(enumerate(values)))
    assert summary.mean == pytest.approx(statistics.fmean(values))
    assert summary.deviation == pytest.approx(statistics.stdev(values), abs=1e-9)


def test_summaries_say_how_much_they_know():
    assert str(summarize({})) == '–'
    assert str(summarize({3: 12.345})) == '12.35' or str(summarize({3: 12.345})) == '12.34'
    assert str(summarize({0: 10.0, 1: 12.0})) == '11.00 ± 1.41'
    assert str(summarize({0: float('nan')})) == '–'
    assert summarize({0: -1.5}).signed() == '-1.50'
    assert summarize({0: 1.5}).signed() == '+1.50'


def test_gains_are_paired_by_seed():
    assert gains({0: 5.0, 1: 7.0, 4: 1.0}, {1: 4.0, 0: 4.5, 2: 0.0}) == {0: 0.5, 1: 3.0}


def test_components_with_both_readings(results):
    measured = measure_table(TABLES['table3'], SETTINGS['worlds'], results, READINGS, SIZES)
    lines = rows_of(measured.scores)
    assert [(line['model'], line['reading']) for line in lines] == [
        ('FCN8s+CE', ''),
        ('FCN8s+GAN+CE', ''),
        ('FCN8s+GAN+CL', 'paper'),
        ('FCN8s+GAN+CL', 'equal-ratio'),
    ]
    assert [line['paper: mIoU'] for line in lines] == ['30.0', '34.4', '38.1', '38.1']
    wanted = [f'{np.mean(v):.2f} ± {np.std(v, ddof=1):.2f}' for v in list(TARGETS.values())[:4]]
    assert [line['measured: mIoU'] for line in lines] == wanted
    difference = np.subtract(TARGETS['gan_cl'], TARGETS['source_only'])
    gain = 'measured: gain over FCN8s+CE'
    assert lines[2][gain] == f'{difference.mean():+.2f} ± {difference.std(ddof=1):.2f}'
    assert lines[3][gain] == '+4.50 ± 2.12'  # of the two seeds that both have: 6 and 3
    assert lines[0][gain] == ''
    assert [line['best snapshot (oracle)'].split(' ')[0] for line in lines] == ['32.00', '35.67', '40.00', '36.50']
    assert lines[2]['source mIoU'] == '71.00 ± 1.00'
    assert [line['seeds'] for line in lines] == ['0 1 2', '0 1 2', '0 1 2', '0 1']
    # Ratio of GAN + CE: .001 · 2 / .5. CL's gradient is 90 times that of the cross entropy.
    assert [line['adversarial weight'] for line in lines] == ['', '0.001', '0.001', '0.09']
    assert [line['adversarial : segmentation'] for line in lines] == ['', '0.004', '4.4e-05', '0.004']
    assert '600 iterations a run.' in measured.notes
    assert measured.title == 'Table 3. Components of the method: built-in worlds'


def test_one_reading_alone(results):
    lines = rows_of(measure_table(TABLES['table3'], SETTINGS['worlds'], results, ('paper',), SIZES).scores)
    assert [line['reading'] for line in lines] == ['', '', 'paper']


def test_what_has_not_run_is_a_dash_and_what_nothing_measures_is_empty(results):
    table = measure_table(TABLES['table1'], SETTINGS['worlds'], {}, READINGS, None)
    lines = {line['model']: line for line in rows_of(table.scores)}
    assert any('FCNWild is not measured on its DilatedNet' in note for note in table.notes)
    assert lines['Ours']['measured: mIoU'] == lines['Ours']['seeds'] == '–'
    assert lines['Ours']['paper: gain'] == '8.1'
    assert lines['Tsai et al. 2018']['measured: mIoU'] == lines['Tsai et al. 2018']['seeds'] == '–'
    other = lines['NoAdapt (Zhang et al. 2017)']
    assert other['measured: mIoU'] == other['seeds'] == ''
    assert lines['Tsai et al. 2018']['network'] == 'FCN8s'
    ablation = rows_of(measure_table(TABLES['table6'], SETTINGS['worlds'], results, READINGS, None).scores)
    assert {line['adversarial : segmentation'] for line in ablation} == {'–'}
    assert [line['measured: mIoU'] for line in ablation if line['model'] == 'Loss₁'] == ['–', '–']
    assert [line['measured: mIoU'] for line in ablation if line['model'] == 'FL'] == ['35.00', '–']


def test_lambda_shares_its_runs_at_an_equal_ratio_but_not_its_weight(results):
    lines = rows_of(measure_table(TABLES['table4'], SETTINGS['worlds'], results, READINGS, SIZES).scores)
    equal = [line for line in lines if line['reading'] == 'equal-ratio' and line['model'].startswith('λ')]
    assert {line['measured: mIoU'] for line in equal} == {'35.50 ± 0.71'}
    assert [line['adversarial weight'] for line in equal] == ['0.018', '0.09', '0.18', '0.36']
    assert {line['adversarial : segmentation'] for line in equal} == {'0.004'}


def test_synthia_reads_the_means_over_16_and_13_classes():
    experiment = gan_cl(pair='synthia2city')
    result = make_result(experiment, 0, 20.0)
    for name, value in (('target/mIoU16', 25.0), ('target/mIoU13', 30.0), ('source/mIoU16', 50.0)):
        result.log.validation[name] = Series(np.array([600]), np.array([value]))
    table = measure_table(TABLES['table2'], SETTINGS['worlds'], {experiment.folder: {0: result}}, READINGS, None)
    ours = rows_of(table.scores)[-1]
    assert (ours['paper: mIoU'], ours['measured: mIoU']) == ('34.2', '25.00')
    assert (ours['paper: mIoU-2'], ours['measured: mIoU-2']) == ('40.3', '30.00')
    assert ours['source mIoU'] == '50.00'


class CellReader(HTMLParser):
    """Collect the cells of all tables of a page."""

    def __init__(self):
        super().__init__()
        self.cells, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        if tag in ('td', 'th'):
            self.inside = True
            self.cells.append('')

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ('td', 'th')

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def test_markdown_and_html_hold_the_same_cells(results, tmp_path):
    table = measure_table(TABLES['table3'], SETTINGS['worlds'], results, READINGS, SIZES, ['a < b & c'])
    markdown, page = write_table(table, tmp_path / 'new' / 'table3')
    lines = [line for line in markdown.read_text().splitlines() if line.startswith('|') and not line.startswith('| :')]
    cells = [cell.strip() for line in lines for cell in line.strip('|').split('|')]
    reader = CellReader()
    reader.feed(page.read_text())
    assert [cell.strip() for cell in reader.cells] == cells
    assert cells[: len(table.scores.field_names)] == table.scores.field_names
    # The class without a score is a dash, the mean of the other one is by hand.
    place = cells.index('FCN8s+CE', len(table.scores.rows) * len(table.scores.field_names))
    assert cells[place : place + 3] == ['FCN8s+CE', f'{90 + 3.1:.1f}', '–']
    runs = cells[cells.index('gta2city/source_only/seed_0') :]
    assert runs[:3] == ['gta2city/source_only/seed_0', '600', '1.5']
    assert runs[6:9] == ['gta2city/source_only/seed_2', '600', 'resumed']
    assert 'a < b & c' in markdown.read_text() and '<p>a &lt; b &amp; c</p>' in page.read_text()
    assert 'cross entropy 0.5, adversarial term at weight 1 2' in markdown.read_text()


def test_a_table_without_runs_says_so():
    table = measure_table(TABLES['table5'], SETTINGS['airsim'], {}, READINGS, None)
    assert 'None is finished.' in format_html(table)
    assert table.classes is None
