import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score

from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.report import default_name, named_folder, write_report
from cda_mmseg.report.pictures import error_map, pick, score_run
from cda_mmseg.report.run import read_run
from cda_mmseg.utils.arguments import UsageError
from tests.report.conftest import FAILED
from tests.visualization.conftest import ADVERSARIAL


class Page(HTMLParser):
    """What a reader sees: text, cells of tables, pictures; and what a browser would fetch."""

    def __init__(self, path):
        super().__init__()
        self.text, self.tables, self.pictures, self.fetched = [], [], [], []
        self.in_table = False
        self.feed(path.read_text(encoding='utf-8'))
        self.text = re.sub(r'\s+', ' ', ' '.join(self.text))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ('src', 'href') and value.startswith('data:'):
                self.pictures.append(Image.open(io.BytesIO(base64.b64decode(value.partition(',')[2]))))
            elif name in ('src', 'href', 'xlink:href', 'srcset') and not value.startswith('#'):
                self.fetched.append(value)
        if tag == 'table':
            self.in_table = True
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self.tables[-1][-1].append('')

    def handle_endtag(self, tag):
        self.in_table = self.in_table and tag != 'table'

    def handle_data(self, data):
        self.text.append(data)
        if self.in_table and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += ' '.join(data.split())


def report_of(tmp_path, *folders, warn=pytest.fail):
    write_report([(default_name(folder), folder) for folder in folders], tmp_path / 'report.html', warn=warn)
    return Page(tmp_path / 'report.html')


def test_seeds_are_averaged_and_paired(write_run, tmp_path):
    folders = [write_run(f'plain/seed{seed}', seed, (30.0, score)) for seed, score in enumerate((20.0, 23.0))]
    folders += [write_run(f'ours/seed{seed}', seed, (10.0, score)) for seed, score in enumerate((26.0, 27.0))]
    page = report_of(tmp_path, *folders)
    header, plain, ours = page.tables[0]
    assert header == [
        *('run', 'seeds', 'target mIoU', 'source mIoU (seen in training)', 'target share distance'),
        *('best target mIoU (oracle)', 'target mIoU − plain'),
    ]
    # Differences 6 and 4: mean 5, standard deviation √2, t(.975) with one degree of freedom 12.706.
    assert plain == ['plain', '2', '21.50 ± 2.12', '60.00 ± 0.00', '5.00 ± 0.00', '30.00 ± 0.00', '']
    assert ours == [
        'ours',
        '2',
        '26.50 ± 0.71',
        '60.00 ± 0.00',
        '5.00 ± 0.00',
        '26.50 ± 0.71',
        '+5.00 ± 12.71, 2 pairs',
    ]
    assert 'plain 21.50 ± 2.12, ours 26.50 ± 0.71 (+5.00 ± 12.71, 2 pairs)' in page.text
    assert page.tables[1] == [
        ['class', 'plain', 'ours'],
        ['road', '21.50 ± 2.12', '26.50 ± 0.71'],
        ['sky', *['1.00 ± 0.00'] * 2],
    ]
    assert page.text.count('finished, 100 iterations') == 4 and '0:01:40' in page.text
    assert 'source (seen in training)' in page.text


def test_it_is_one_file_without_network_and_its_pictures_can_be_read(write_run, tmp_path):
    page = report_of(tmp_path, write_run('plain'), write_run('adapted', 1, **ADVERSARIAL))
    assert page.fetched == []
    assert page.text.count('<svg') == 0 and (tmp_path / 'report.html').read_text().count('<svg') == 2
    # Four images: two of the worst, none between, two of the best; picture, truth, two predictions, errors, rebuilt.
    assert len(page.pictures) == 4 * 6
    assert all(picture.size in ((32, 16), (16, 8)) and picture.load() for picture in page.pictures)
    for caption in ('truth', 'plain', 'errors of adapted', 'reconstruction by adapted'):
        assert f' {caption} ' in page.text


def test_what_is_taken_for_what_is_scikit_learns_table(write_run):
    run = read_run('plain', write_run('plain'))
    scored = score_run(run, run, None, 'cpu', whole=False)
    model = init_trained_model(run.config, str(run.checkpoint))
    truths, predictions, scores = [], [], []
    for index in range(4):
        item = scored.dataset[index]
        with torch.no_grad():
            predicted = model.test_step(pseudo_collate([item]))[0].pred_sem_seg.data.flatten()
        truths.append(item['data_samples'].gt_sem_seg.data.flatten())
        predictions.append(predicted)
        scores.append(jaccard_score(truths[-1], predicted, average='macro'))
    expected = confusion_matrix(torch.cat(truths), torch.cat(predictions), labels=range(3))
    np.testing.assert_array_equal(scored.confusion, expected)
    assert (expected > 0).sum() > 3
    groups = pick(scored)
    assert [scores[position] for group in groups.values() for position in group] == pytest.approx(sorted(scores))
    assert list(groups) == ['Worst', 'Best']
    few = score_run(run, run, 2, 'cpu', whole=False)
    assert [result.image for result in few.results] == [scored.results[index].image for index in (0, 2)]


def test_errors_are_red_and_what_is_not_scored_black():
    image = np.full((1, 3, 3), 100, np.uint8)
    right, wrong, ignored = error_map(image, np.array([[1, 2, 255]]), np.array([[1, 1, 1]]), 3)[0].tolist()
    assert right == [140, 140, 140] and ignored == [0, 0, 0]
    assert wrong[0] > 2 * wrong[1]


def test_without_target_labels_nothing_is_said_of_errors(write_run, tmp_path):
    page = report_of(tmp_path, write_run('bare', target=None))
    assert 'The target was not scored, so that nothing can be said of adaptation.' in page.text
    assert 'Source mIoU, seen in training: bare 60.00' in page.text
    assert 'Least certain' in page.text and 'they have no labels' in page.text and 'errors of' not in page.text


def test_runs_that_did_not_end_are_told_as_far_as_they_got(write_run, tmp_path):
    stopped = (
        '2026/12/01 10:02:00 - mmengine - WARNING - Stopped by a signal after 100 iterations, which are saved in X.\n'
    )
    folders = [
        write_run('killed', max_iters=200),
        write_run('nan', max_iters=200, log=FAILED, target=(30.0, float('nan'))),
        write_run('stopped', max_iters=200, log=stopped),
        write_run('begun', max_iters=200, checkpoint=False),
    ]
    (folders[-1] / '20261201_100000' / 'vis_data' / 'scalars.json').unlink()
    page = report_of(tmp_path, *folders)
    assert 'unfinished, 100 of 200 iterations: killed, or still running' in page.text
    assert 'unfinished, 100 of 200 iterations: NonFiniteLossError: decode.loss_ce is nan' in page.text
    assert 'unfinished, 100 of 200 iterations: stopped by a signal, and saved' in page.text
    assert 'unfinished, 0 of 200 iterations' in page.text
    assert 'begun: no predictions, there is no checkpoint' in page.text
    assert 'nan not scored' in page.text and 'Unfinished: killed, seed 0; nan, seed 0;' in page.text
    assert page.tables[0][2][:3] == ['nan', '1', '–']


def test_a_test_in_the_folder_of_a_run_is_none_of_its_starts(write_run, tmp_path):
    folder = write_run('nan', max_iters=200, log=FAILED)
    record = dict(command='python tools/train.py a.py', config='a.py', changes=[], seed=0)
    record |= dict(processes=1, versions={'torch': '2'}, machine='mine')
    (folder / '20261201_100000' / 'launch.json').write_text(json.dumps(record))
    tested = folder / '20261202_100000'
    tested.mkdir()
    (tested / '20261202_100000.log').write_text(
        '2026/12/02 10:00:00 - mmengine - INFO - source (4 images; held out of training): mIoU 60.0\n'
    )
    (tested / 'launch.json').write_text(
        json.dumps(dict(record, command='/env/bin/python tools/test.py folder/config.py iter_100.pth'))
    )
    page = report_of(tmp_path, folder)
    assert 'unfinished, 100 of 200 iterations: NonFiniteLossError: decode.loss_ce is nan.' in page.text
    assert 'test.py' not in page.text and 'seen in training' in page.text and 'held out' not in page.text


def test_every_page_says_once_how_unfinished_runs_ended(write_run, tmp_path):
    page = report_of(tmp_path, write_run('nan', max_iters=200, log=FAILED.replace('nan\n', 'nan.\n'), target=None))
    assert 'nothing can be said of adaptation.' in page.text and 'Unfinished: nan, seed 0.' in page.text
    assert 'NonFiniteLossError: decode.loss_ce is nan. ' in page.text and '..' not in page.text


def test_a_run_that_validates_nothing_has_no_pictures(write_run, tmp_path):
    folder = write_run('plain')
    config = (folder / 'config.py').read_text()
    (folder / 'config.py').write_text(config + '\nval_dataloader = None\n')
    warnings = []
    page = report_of(tmp_path, folder, warn=warnings.append)
    assert len(warnings) == 1 and 'plain: no predictions, the config of plain, seed 0 validates nothing.' in page.text


def test_scores_of_a_teacher_are_not_those_of_the_pictures(write_run, tmp_path):
    folder = write_run('plain')
    remark = "they are the student's, the scores are its averaged teacher's"
    assert remark not in report_of(tmp_path, folder).text
    with (folder / 'config.py').open('a') as config:
        config.write("\ncustom_hooks = [dict(type='TeacherEvaluationHook')]\n")
    assert remark in report_of(tmp_path, folder).text


def test_weights_that_are_damaged_cost_the_pictures_alone(write_run, tmp_path):
    folder = write_run('plain')
    (folder / 'iter_100.pth').write_bytes((folder / 'iter_100.pth').read_bytes()[:-100])
    warnings = []
    page = report_of(tmp_path, folder, warn=warnings.append)
    assert len(warnings) == 1 and 'cannot be read as a checkpoint' in warnings[0]
    assert 'plain: no predictions,' in page.text and not page.pictures


def test_how_a_run_was_started_is_shown_as_text(write_run, tmp_path):
    folder = write_run('<b>plain</b>')
    record = dict(
        command='python tools/train.py "a<b.py"', folder='/', config='a.py', changes=['seed: 0 → 1'], seed=0,
        processes=2, versions={'torch': '2.13'}, machine='Linux, 2 cores',
    )  # fmt: skip
    (folder / '20261201_100000' / 'launch.json').write_text(json.dumps(record))
    page = report_of(tmp_path, folder)
    for text in ('python tools/train.py "a<b.py"', 'a.py: 1 changes to its bases', 'seed: 0 → 1', 'Linux, 2 cores'):
        assert text in page.text
    assert '<b>plain' not in (tmp_path / 'report.html').read_text()


def test_folders_that_are_no_runs_and_runs_of_one_name_and_seed_are_refused(write_run, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere is not the folder of a run'):
        report_of(tmp_path, tmp_path / 'nowhere')
    folders = [write_run('a/seed0'), write_run('b/a')]
    with pytest.raises(UsageError, match="are both called 'a', and both have the seed 0"):
        report_of(tmp_path, *folders)


def test_runs_are_named_after_their_folders(tmp_path, monkeypatch):
    assert [default_name(path) for path in ('x/y', 'x/y/seed3', 'x/y/seed_12')] == ['y', 'y', 'y']
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'lr=0.1' / 'seed0').mkdir(parents=True)
    assert [named_folder(text) for text in ('lr=0.1/seed0', 'ours=lr=0.1/seed0', 'ours=gone', 'gone')] == [
        *(('lr=0.1', 'lr=0.1/seed0'), ('ours', 'lr=0.1/seed0'), ('ours', 'gone'), ('gone', 'gone'))
    ]
