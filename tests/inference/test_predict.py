"""tools/predict.py, as a user calls it."""

import csv
import errno
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmseg.apis import inference_model, init_model
from mmseg.datasets import CityscapesDataset
from PIL import Image

from cda_mmseg import launch
from cda_mmseg.datasets.label_ids import CITYSCAPES_IDS
from cda_mmseg.engine import read_config
from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.evaluation.class_areas import GROUND_TRUTH, INTERSECTION, PREDICTION, class_areas, count_class_table
from cda_mmseg.inference import Outcome, find_pictures, pack, predict_pictures
from cda_mmseg.inference.painting import add_legend, paint_classes, paint_over
from cda_mmseg.inference.record import Record
from cda_mmseg.utils.arguments import UsageError
from cda_mmseg.utils.atomic_file import write_text
from tests.tool_processes import ROOT, SMOKE


def run(monkeypatch, *arguments: object) -> int:
    """Run the tool inside this process; return its exit code."""
    monkeypatch.setattr(sys, 'argv', ['predict.py', *map(str, arguments)])
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / 'tools' / 'predict.py'), run_name='__main__')
    return end.value.code


def options(weights: str, out: Path, *more: object) -> list:
    return ['--config', SMOKE, '--checkpoint', weights, '--out', out, '--workers', 0, '--device', 'cpu', *more]


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / 'predictions.csv').open(newline='') as file:
        return {row['name']: row for row in csv.DictReader(file)}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*.png'))}


def grey(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_batch_1_equals_inference_model_and_batches_and_workers_agree(folder, weights, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    kinds = ['train_id', 'label_id', 'color', 'overlay', 'confidence']
    assert run(monkeypatch, folder, *options(weights, out, '--recursive', '--write', *kinds)) == 0
    model = init_model(read_config(SMOKE), weights, 'cpu')
    palette = np.array(model.dataset_meta['palette'])
    for path in sorted(folder.rglob('*.png')):
        name = path.relative_to(folder)
        sample = inference_model(model, str(path))
        ids = sample.pred_sem_seg.data[0].numpy()
        assert np.array_equal(grey(out / 'train_id' / name), ids)
        assert np.array_equal(cv2.imread(str(out / 'color' / name))[..., ::-1], palette[ids])
        probability = sample.seg_logits.data.softmax(0).amax(0)
        assert np.array_equal(grey(out / 'confidence' / name), (probability * 255).round().byte().numpy())
        height, width = ids.shape
        overlay = cv2.imread(str(out / 'overlay' / name))[:height, :width]
        mean = (cv2.imread(str(path)).astype(int) + palette[ids][..., ::-1]) / 2
        assert np.abs(overlay - mean).max() <= 0.5
        row = rows(out)[str(name)]
        assert row['status'] == 'done' and float(row['seconds']) > 0 and 0 < float(row['entropy']) < 1
        assert float(row['share.road']) == pytest.approx((ids == 0).mean(), abs=1e-6)
    predicted = np.concatenate([grey(path).ravel() for path in (out / 'train_id').rglob('*.png')])
    assert len(rows(out)) == 20 and len(np.unique(predicted)) >= 3
    other = tmp_path / 'other'
    more = ('--recursive', '--batch-size', 4, '--workers', 2, '--write', *kinds)
    assert run(monkeypatch, folder, *options(weights, other, *more)) == 0
    ours, theirs = files(out), files(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        if name.startswith('confidence'):  # batches add up in another order, which may round one grey level apart
            assert np.abs(grey(out / name).astype(int) - grey(other / name)).max() <= 1, name
        else:
            assert ours[name] == theirs[name], name


@pytest.fixture
def scored(folder, weights, tmp_path, monkeypatch):
    """Files of predicted and true label ids, and the IoU per class that the metric counts from train ids."""
    out = tmp_path / 'out'
    assert run(monkeypatch, folder, *options(weights, out, '--recursive', '--write', 'label_id', 'train_id')) == 0
    train_ids = np.array([CITYSCAPES_IDS.get(label_id, 255) for label_id in range(256)], np.uint8)
    predictions, truths, areas = [], [], 0
    for number, path in enumerate(sorted((out / 'label_id').rglob('*.png'))):
        truth = np.random.choice(np.array([*np.unique(grey(path)), 7, 24, 33, 4], np.uint8), grey(path).shape)
        predictions.append(str(path))
        truths.append(str(tmp_path / f'aachen_{number:06}_000019_gtFine_labelIds.png'))
        cv2.imwrite(truths[-1], truth)
        predicted = grey(out / 'train_id' / path.relative_to(out / 'label_id'))
        areas += class_areas(
            count_class_table(torch.from_numpy(predicted), torch.from_numpy(train_ids[truth]), 19, 255).numpy()
        )
    union = areas[PREDICTION] + areas[GROUND_TRUTH] - areas[INTERSECTION]
    return predictions, truths, {index: areas[INTERSECTION][index] / union[index] for index in np.flatnonzero(union)}


def test_label_ids_score_what_the_metric_scores(scored):
    predictions, truths, expected = scored
    predicted, truth = (np.concatenate([grey(path).ravel() for path in paths]) for paths in (predictions, truths))
    counted = np.array([CITYSCAPES_IDS[label_id] != 255 for label_id in range(35)])[truth]
    for label_id, train_id in CITYSCAPES_IDS.items():
        if train_id in expected:
            either = (predicted == label_id) | (truth == label_id)
            both = (predicted == label_id) & (truth == label_id)
            assert both.sum() / (either & counted).sum() == expected[train_id]
    assert len(expected) > 5 and sum(score > 0 for score in expected.values()) >= 3


def test_label_ids_score_the_same_by_cityscapes_own_script(scored):
    script = pytest.importorskip('cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling')
    predictions, truths, expected = scored
    # np.in1d, which its pixel accuracy uses, is gone in NumPy 2.4
    script.args.evalPixelAccuracy = script.args.evalInstLevelScore = script.args.JSONOutput = False
    script.args.quiet = True
    scores = script.evaluateImgLists(predictions, truths, script.args)['classScores']
    names = CityscapesDataset.METAINFO['classes']
    assert {index: scores[names[index]] for index in expected} == expected


BAD = {
    'text': lambda path: path.write_text('no picture'),
    'truncated': lambda path: path.write_bytes(path.read_bytes()[:-200]),
    'zero bytes': lambda path: path.write_bytes(b''),
    'dark 16 bits': lambda path: cv2.imwrite(str(path), np.full((32, 64, 3), 4000, np.uint16)),
    'gone': lambda path: path.unlink(),
}
UNUSUAL = {
    '16 bits': lambda path: cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 257),
    'grey': lambda path: Image.open(path).convert('L').save(path),
    'RGBA': lambda path: Image.open(path).convert('RGBA').save(path),
    '1×1': lambda path: Image.open(path).crop((0, 0, 1, 1)).save(path),
}


@pytest.fixture
def three(folder, tmp_path):
    """A list of three pictures, of which tests spoil the second."""
    names = ['02.png', '04.png', '06.png']
    (folder / 'list.txt').write_text('\n'.join(names))
    return folder / 'list.txt'


@pytest.mark.parametrize('bad', BAD)
def test_a_bad_picture_costs_itself_only(bad, three, weights, tmp_path, monkeypatch, capfd):
    out = tmp_path / 'out'
    BAD[bad](three.parent / '04.png')
    assert run(monkeypatch, three, *options(weights, out, '--batch-size', 3)) == 1
    assert sorted(files(out)) == [f'{kind}/{name}.png' for kind in ('overlay', 'train_id') for name in ('02', '06')]
    assert {name: row['status'] == 'done' for name, row in rows(out).items()} == {
        '02.png': True,
        '04.png': False,
        '06.png': True,
    }
    output = capfd.readouterr()
    assert '2 predicted, 0 were there, 1 failed' in output.out
    assert [line for line in output.err.splitlines() if '04.png' in line] and 'Traceback' not in output.err
    # repaired, it alone is missing
    cv2.imwrite(str(three.parent / '04.png'), np.zeros((32, 64, 3), np.uint8))
    assert run(monkeypatch, three, *options(weights, out)) == 0
    assert '1 predicted, 2 were there, 0 failed' in capfd.readouterr().out
    assert len(files(out)) == 6


@pytest.mark.parametrize('kind', UNUSUAL)
def test_an_unusual_picture_is_predicted(kind, three, weights, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    path = three.parent / '04.png'
    UNUSUAL[kind](path)
    assert run(monkeypatch, three, *options(weights, out)) == 0
    expected = inference_model(init_model(read_config(SMOKE), weights, 'cpu'), str(path)).pred_sem_seg.data[0].numpy()
    assert np.array_equal(grey(out / 'train_id' / '04.png'), expected)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (['nowhere'], 'There is no picture nowhere.'),
        (['none*.png'], 'There is no picture none*.png.'),
        (['empty'], 'There is no picture in empty. Folders in it are entered with --recursive.'),
        (['words.txt'], 'words.txt names no picture'),
    ],
)
def test_an_input_without_pictures_is_one_line(given, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'words.txt').write_text('Dear reader,\n')
    assert run(monkeypatch, *given, *options('weights.pth', tmp_path / 'out')) == 1
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / 'out').exists()


def test_two_inputs_of_one_output_are_refused_before_work(folder, tmp_path, monkeypatch, capfd):
    Image.open(folder / '02.png').save(folder / '02.jpg')
    assert run(monkeypatch, folder, *options('weights.pth', tmp_path / 'out')) == 2
    assert 'would both be written to 02.png' in capfd.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_names_keep_the_folders_below_each_input(folder, tmp_path, monkeypatch):
    (folder / 'notes.txt').write_text('not mine to read')
    out = str(folder / 'out')
    Path(out).mkdir()
    Image.open(folder / '02.png').save(folder / 'out' / 'old.png')
    monkeypatch.chdir(folder.parent)

    def names(*given, recursive=False):
        return [picture.name for picture in find_pictures(given, recursive, out)]

    odd, even = ([f'{number:02}.png' for number in range(first, 20, 2)] for first in (1, 0))
    assert names('pictures') == even
    assert sorted(names('pictures', recursive=True)) == sorted([*even, *(f'more/{name}' for name in odd)])
    assert names('pictures/*/*.png') == [f'more/{name}' for name in odd]
    assert names('pictures/more/0*.png') == odd[:5]
    assert names('pictures/**/03.png') == ['more/03.png']
    assert names('pictures/02.png', 'pictures/more/03.png', 'pictures/02.png') == ['02.png', '03.png']
    (folder.parent / 'list.txt').write_text(f'pictures/more/03.png\n\n{folder}/02.png\n')
    assert names('list.txt') == ['pictures/more/03.png', '02.png']


def start(work) -> int:
    """Start work in a child that has everything imported; return its process id."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return process


def finish(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.fixture
def predict(weights, folder, tmp_path):
    """Return a function that predicts the pictures, and has done so once elsewhere."""
    config = read_config(SMOKE)
    model = init_trained_model(config, weights)

    def predict(out: Path, **changes: object) -> Iterator[Outcome]:
        return predict_pictures(find_pictures([str(folder)], True, str(out)), model, config, str(out), **changes)

    list(predict(tmp_path / 'before'))
    return predict


def test_a_picture_without_permission_costs_itself_only(folder, predict, tmp_path):
    """In a child without root's rights."""
    (folder / '04.png').chmod(0)
    out = tmp_path / 'out'
    out.mkdir()
    out.chmod(0o777)
    for above in (tmp_path, *tmp_path.parents):
        # pytest's own folders are closed to the user that the child becomes
        if Path(tempfile.gettempdir()) in above.parents:
            above.chmod(0o755)

    def work() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        refused = [outcome for outcome in predict(out) if outcome.status != 'done']
        assert [outcome.picture.name for outcome in refused] == ['04.png']
        assert 'Permission denied' in refused[0].status

    assert finish(start(work)) == 0 and len(files(out)) == 38


def test_a_full_disk_leaves_nothing_half_written(predict, tmp_path):
    """No file may grow beyond 600 bytes."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.raises(OSError, match='the same command goes on from here') as error:
            list(predict(tmp_path / 'out', kinds=['overlay']))
        assert error.value.errno == errno.EFBIG

    assert finish(start(work)) == 0
    assert {path.name for path in (tmp_path / 'out').rglob('*')} == {'predictions.json', 'predictions.csv', 'overlay'}


@pytest.mark.parametrize('most', [50, 200])
def test_a_table_that_the_disk_has_no_room_for_is_named(most, tmp_path):
    """It is full while the folder is begun, or at a later line."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.raises(OSError, match='the same command goes on from here') as error:
            record = Record(str(tmp_path), ['road'], dict(weights='a'), fresh=False)
            for number in range(9):
                record.add(f'{number}.png', 'picture.png', 'done', 1, 0.5, [1])
        assert error.value.filename == str(tmp_path / 'predictions.csv')

    assert finish(start(work)) == 0


def test_a_killed_run_goes_on(folder, weights, predict, tmp_path, monkeypatch, capfd):
    out = tmp_path / 'out'

    def work() -> None:
        for _ in predict(out):
            time.sleep(0.05)

    process = start(work)
    while not (out / 'predictions.csv').exists() or len(rows(out)) < 3:
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    assert finish(process) == -signal.SIGKILL
    with (out / 'predictions.csv').open('a') as file:
        file.write('more/19.png,/torn,done,0.0')
    early = {path: path.stat().st_mtime_ns for path in (out / 'train_id').rglob('*.png')}
    assert all(grey(out / file) is not None for file in files(out))
    assert run(monkeypatch, folder, *options(weights, out, '--recursive')) == 0
    assert len(rows(out)) == 20 and len(files(out)) == 40
    kept = [path for path, when in early.items() if path.stat().st_mtime_ns == when]
    assert len(kept) >= 3 and f'{20 - len(kept)} predicted, {len(kept)} were there' in capfd.readouterr().out


def test_predictions_of_other_settings_are_not_mixed(three, weights, tmp_path, monkeypatch, capfd):
    out = tmp_path / 'out'
    assert run(monkeypatch, three, *options(weights, out)) == 0
    assert run(monkeypatch, three, *options(weights, out, '--opacity', 0.25)) == 2
    assert 'holds predictions with opacity 0.5, not 0.25' in capfd.readouterr().err
    assert run(monkeypatch, three, *options(weights, out, '--opacity', 0.25, '--overwrite')) == 0
    Image.open(three.parent / '02.png').save(tmp_path / '02.png')
    assert run(monkeypatch, tmp_path / '02.png', *options(weights, out, '--opacity', 0.25)) == 2
    assert 'is the prediction of' in capfd.readouterr().err
    # a picture that has changed since is predicted again
    os.utime(three.parent / '04.png', (time.time() + 9, time.time() + 9))
    assert run(monkeypatch, three, *options(weights, out, '--opacity', 0.25)) == 0
    assert '1 predicted, 2 were there' in capfd.readouterr().out


CHANGES = {
    'normalisation': lambda config: config.model.data_preprocessor.update(std=[1.0] * 3),
    'windows': lambda config: config.model.test_cfg.update(mode='slide', crop_size=(32, 32), stride=(16, 16)),
    'label ids': lambda config: (
        config.val_dataloader.dataset.datasets[0]
        .pipeline[2]
        .update(id_map={**dict.fromkeys(range(256), 255), **{200 - train_id: train_id for train_id in range(19)}})
    ),
}


@pytest.mark.parametrize('change', CHANGES)
def test_predictions_of_another_config_are_not_mixed(change, three, weights, tmp_path):
    """With the same weights and pipeline."""
    config, changed = read_config(SMOKE), read_config(SMOKE)
    CHANGES[change](changed)
    out = str(tmp_path / 'out')
    pictures = find_pictures([str(three)], False, out)

    def predict(config, *kinds, **options):
        model = init_trained_model(config, weights)
        return list(predict_pictures(pictures, model, config, out, kinds, **options))

    assert len(predict(config, 'train_id', 'label_id')) == 3
    with pytest.raises(UsageError, match=r'holds predictions with (network|label_ids) '):
        predict(changed, 'train_id', 'label_id')
    assert predict(config, 'train_id') == predict(config, 'label_id') == []
    assert len(predict(changed, 'label_id', overwrite=True)) == 3
    # of the network before
    assert len(predict(changed, 'train_id')) == 3 and predict(changed, 'label_id') == []


def test_a_kill_while_a_folder_begins_anew_leaves_no_former_lines_under_new_settings(tmp_path, monkeypatch):
    former = Record(str(tmp_path), ['road'], dict(weights='old'), fresh=False)
    (tmp_path / 'a.png').write_bytes(b'old')
    former.add('a.png', 'picture.png', 'done', 1, 0.5, [1])
    written = []

    def write(path, text):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write_text(path, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('cda_mmseg.inference.record.write_text', write)
        Record(str(tmp_path), ['road'], dict(weights='new'), fresh=True)
    try:
        record = Record(str(tmp_path), ['road'], dict(weights='new'), fresh=False)
    except UsageError:
        return
    assert not record.is_done('a.png', 'picture.png', [str(tmp_path / 'a.png')])


def test_a_name_that_is_no_text_is_kept(folder, predict, tmp_path):
    name = os.fsdecode(b'stra\xdfe.png')
    (folder / '04.png').rename(folder / name)
    out = tmp_path / 'out'
    assert {outcome.status for outcome in predict(out)} == {'done'} and (out / 'train_id' / name).exists()
    assert list(predict(out)) == []
    with pytest.raises(ValueError, match='take names in UTF-8 alone: rename the picture'):
        pack(str(out), ['train_id'], find_pictures([str(folder)], True, str(out)), str(tmp_path / 'all.zip'))
    assert not list(tmp_path.glob('all.zip*'))


def test_inputs_within_the_folder_of_predictions_are_named(folder):
    for given, out in ((folder, folder), (folder / 'more', folder), (folder / '02.png', folder)):
        with pytest.raises(UsageError, match='lies in --out'):
            find_pictures([str(given)], False, str(out))


def test_files_of_others_are_not_overwritten(three, weights, tmp_path, monkeypatch):
    (tmp_path / 'out' / 'train_id').mkdir(parents=True)
    (tmp_path / 'out' / 'train_id' / '04.png').write_bytes(b'mine')
    assert run(monkeypatch, three, *options(weights, tmp_path / 'out')) == 2
    assert (tmp_path / 'out' / 'train_id' / '04.png').read_bytes() == b'mine'


def test_predictions_are_packed_once_all_are_there(folder, weights, tmp_path, monkeypatch):
    out, packed = tmp_path / 'out', tmp_path / 'labels.zip'
    arguments = [folder, *options(weights, out, '--recursive', '--write', 'label_id', '--zip', packed)]
    whole = (folder / '04.png').read_bytes()
    (folder / '04.png').write_bytes(b'')
    assert run(monkeypatch, *arguments) == 1 and not packed.exists()
    (folder / '04.png').write_bytes(whole)
    assert run(monkeypatch, *arguments) == 0
    with zipfile.ZipFile(packed) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert content == files(out / 'label_id') and 'more/03.png' in content


def test_mixed_precision_predicts(three, weights, tmp_path, monkeypatch):
    kinds = ('--write', 'train_id', 'confidence')
    assert run(monkeypatch, three, *options(weights, tmp_path / 'out', '--amp', *kinds)) == 0
    assert run(monkeypatch, three, *options(weights, tmp_path / 'full', *kinds)) == 0
    assert files(tmp_path / 'out' / 'confidence') != files(tmp_path / 'full' / 'confidence')
    pairs = zip(files(tmp_path / 'out'), files(tmp_path / 'full'), strict=True)
    same = [(grey(tmp_path / 'out' / a) == grey(tmp_path / 'full' / b)).mean() for a, b in pairs if 'train_id' in a]
    assert min(same) > 0.9


def test_label_ids_need_labels_in_the_config(weights):
    config = read_config(SMOKE)
    for name in ('val', 'test', 'train'):
        config.pop(f'{name}_dataloader')
    with pytest.raises(ValueError, match='no data set of the config loads labels'):
        next(predict_pictures([], init_trained_model(config, weights), config, 'out', kinds=['label_id']))


def test_label_ids_invert_an_id_map_of_ones_own(weights, folder, tmp_path):
    config = read_config(SMOKE)
    step = config.val_dataloader.dataset.datasets[0].pipeline[2]
    step.id_map = {**dict.fromkeys(range(256), 255), **{200 - train_id: train_id for train_id in range(19)}}
    out = str(tmp_path / 'out')
    pictures = find_pictures([str(folder)], False, out)
    list(predict_pictures(pictures, init_trained_model(config, weights), config, out, kinds=['label_id', 'train_id']))
    for picture in pictures:
        ids, labels = (grey(tmp_path / 'out' / kind / picture.name) for kind in ('train_id', 'label_id'))
        assert np.array_equal(labels, 200 - ids)
    step.id_map = {**dict.fromkeys(range(256), 255), 7: 0}
    with pytest.raises(ValueError, match="no label id of 8 bits for the class 'sidewalk'"):
        next(predict_pictures([], init_trained_model(config, weights), config, out, kinds=['label_id']))


def test_colours_lie_over_grey_pictures_too():
    grey_picture = np.random.randint(0, 256, (4, 5), np.uint8)
    colors = np.random.randint(0, 256, (4, 5, 3), np.uint8)
    expected = (grey_picture[..., None].astype(float) + colors) / 2
    assert np.abs(paint_over(grey_picture, colors, 0.5) - expected).max() <= 0.5


def test_the_legend_shows_the_classes_that_occur():
    palette = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    ids = np.full((40, 300), 2, np.uint8)
    framed = add_legend(paint_classes(ids, palette), [2], ['road', 'car', 'sky'], palette)
    strip = framed[40:]
    assert strip.shape[1] == 300 and (framed[:40] == (255, 0, 0)).all()
    colors = {tuple(color) for color in strip.reshape(-1, 3).tolist()}
    assert (255, 0, 0) in colors and (0, 0, 255) not in colors and (0, 255, 0) not in colors
    assert add_legend(paint_classes(ids[:1, :1], palette), [0, 1, 2], ['road', 'car', 'sky'], palette).shape[1] == 160


def test_a_device_that_is_not_there_is_wrong_usage(three, weights, tmp_path, monkeypatch, capfd):
    arguments = options(weights, tmp_path / 'out')
    arguments[arguments.index('cpu')] = 'cuda:77'
    assert run(monkeypatch, three, *arguments) == 2
    assert '--device cuda:77' in capfd.readouterr().err
    with pytest.raises(UsageError):
        launch.usable_device('abacus')
