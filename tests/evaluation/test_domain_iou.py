import csv
import json
import math
import re

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

import cda_mmseg.datasets.transforms  # noqa: F401
from cda_mmseg.evaluation import DomainIoUMetric

CLASSES = ('road', 'wall', 'traffic light', 'sky', 'bus')


@pytest.fixture
def log_file(tmp_path):
    """Let mmengine log to a file."""
    MMLogger.get_instance(tmp_path.name, log_file=str(tmp_path / 'run.log'))
    return tmp_path / 'run.log'


def make_sample(domain, prediction, ground_truth=None, scores=None, name='a/b.png', **meta):
    sample = SegDataSample(metainfo=dict(domain=domain, img_path=name, **meta))
    sample.pred_sem_seg = PixelData(data=torch.as_tensor(prediction)[None])
    if ground_truth is not None:
        sample.gt_sem_seg = PixelData(data=torch.as_tensor(ground_truth)[None])
    if scores is not None:
        sample.seg_logits = PixelData(data=scores)
    return sample


def random_samples(seed, count, size=(12, 16)):
    """Draw predictions that are right for half of the pixels, domains in turn."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        ground_truth = rng.integers(len(CLASSES), size=size)
        prediction = np.where(rng.random(size) < 0.5, ground_truth, rng.integers(len(CLASSES), size=size))
        ground_truth[rng.random(size) < 0.2] = 255
        samples.append(make_sample(('target', 'source')[index % 2], prediction, ground_truth, name=f'{index}.png'))
    return samples


def evaluate(samples, classes=CLASSES, **arguments):
    evaluator = Evaluator(METRICS.build(dict(type='DomainIoUMetric', **arguments)))
    evaluator.dataset_meta = dict(classes=classes)
    for start in range(0, len(samples), 2):
        evaluator.process(samples[start : start + 2])
    return evaluator.evaluate(len(samples))


def scores_of_mmseg(samples, classes=CLASSES):
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, [sample.to_dict() for sample in samples])
    per_class = metric.total_area_to_metrics(*(sum(areas) for areas in zip(*metric.results, strict=True)))
    means = metric.evaluate(len(samples))
    return {**means, **{f'IoU.{name}': value * 100 for name, value in zip(classes, per_class['IoU'], strict=True)}}


@pytest.mark.parametrize('seed', range(3))
def test_each_domain_scores_what_mmseg_scores_it(seed):
    samples = random_samples(seed, 9)
    scores = evaluate(samples)
    for domain in ('source', 'target'):
        expected = scores_of_mmseg([sample for sample in samples if sample.domain == domain])
        for name, value in expected.items():
            # mmseg adds up in float32, so it may round a tie to the other side.
            assert scores[f'{domain}/{name}'] == pytest.approx(float(value), abs=0.0101), name
        assert scores[f'{domain}/mIoU'] == round(float(expected['mIoU']), 2)
    assert scores['source/images'] == 4
    assert scores['target/images'] == 5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_classes=st.integers(2, 7), present=st.integers(1, 7))
def test_scores_equal_a_count_by_hand(seed, num_classes, present):
    rng = np.random.default_rng(seed)
    classes = tuple(f'class {index}' for index in range(num_classes))
    present = min(present, num_classes)
    sizes = [(3, 5), (2, 2), (4, 1)]
    truths = [rng.choice([*range(present), 255], size=size) for size in sizes]
    predictions = [rng.integers(present, size=size) for size in sizes]
    scores = evaluate(
        [make_sample('target', prediction, truth) for prediction, truth in zip(predictions, truths, strict=True)],
        classes,
        class_lists=dict(odd=list(range(1, num_classes, 2))),
    )
    prediction = np.concatenate([values.ravel() for values in predictions])
    truth = np.concatenate([values.ravel() for values in truths])
    scored = truth != 255
    with np.errstate(invalid='ignore'):
        iou = np.array(
            [
                np.sum((prediction == index) & (truth == index))
                / np.float64(np.sum(scored & ((prediction == index) | (truth == index))))
                for index in range(num_classes)
            ]
        )
    expected = {f'target/IoU.{name}': value for name, value in zip(classes, iou, strict=True)}
    expected |= {'target/mIoU': brute_mean(iou), 'target/odd': brute_mean(iou[1::2])}
    expected |= {f'target/share.{name}': np.mean(prediction == index) for index, name in enumerate(classes)}
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value * 100, abs=0.0051, nan_ok=True), name


def brute_mean(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


def test_class_lists_average_ious_of_the_full_confusion_matrix():
    # Half of the road is taken for sky, which is not in the list: a list that dropped sky's pixels would score 100.
    samples = [make_sample('target', [[0, 3, 1, 1]], [[0, 0, 1, 1]])]
    scores = evaluate(samples, class_lists=dict(mIoU2=[0, 'wall'], mIoU1=['sky']))
    assert scores['target/mIoU2'] == 75
    assert scores['target/mIoU1'] == 0


def test_an_absent_class_is_left_out_and_named(log_file):
    samples = [make_sample('target', [[0, 1]], [[0, 0]]), make_sample('source', [[4, 0]], [[4, 255]])]
    scores = evaluate(samples, class_lists=dict(lights=['traffic light']))
    log = log_file.read_text()
    assert scores['target/mIoU'] == 25
    assert math.isnan(scores['target/IoU.bus'])
    assert math.isnan(scores['target/lights'])
    assert 'left out, neither in the ground truth nor predicted: traffic light, sky, bus)' in log
    # Predicted on an ignored pixel only: neither ground truth nor a scored prediction.
    assert math.isnan(scores['source/IoU.road'])
    assert scores['source/share.road'] == 50
    assert 'target/lights, source/lights: NaN' in log


def test_a_target_without_labels_gets_label_free_signals_only(log_file):
    scores_of_pixels = torch.zeros(len(CLASSES), 2, 2)
    target = make_sample('target', [[0, 0], [0, 1]], scores=scores_of_pixels)
    certain = scores_of_pixels.clone()
    certain[1] = 100
    also_target = make_sample('target', [[1, 1], [1, 1]], scores=certain)
    source = make_sample('source', [[0, 1], [3, 3]], [[0, 1], [3, 3]], scores=scores_of_pixels)
    scores = evaluate([target, also_target, source], domain_notes=dict(source='seen in training'))
    log = log_file.read_text()
    assert scores['source/mIoU'] == 100
    assert not any(name.startswith(('target/m', 'target/aAcc', 'target/IoU')) for name in scores)
    assert [scores[f'target/share.{name}'] for name in CLASSES] == [37.5, 62.5, 0, 0, 0]
    # (|37.5 - 25| + |62.5 - 25| + |0 - 50|) / 2
    assert scores['target/share_distance'] == 50
    assert scores['target/entropy'] == 50
    assert 'source/entropy' not in scores
    assert 'target (2 images without labels): entropy 50.0' in log
    assert 'source (1 images; seen in training): mIoU 100.0' in log


def test_a_target_with_some_labels_is_scored_on_those(log_file):
    scores = evaluate([make_sample('target', [[0, 1]], [[0, 1]]), make_sample('target', [[3, 3]])])
    log = log_file.read_text()
    assert scores['target/mIoU'] == 100
    assert scores['target/share.sky'] == 50
    assert '2 images, 1 of them with labels' in log


def test_entropy_on_request():
    logits = torch.zeros(len(CLASSES), 1, 2)
    labeled = [make_sample('target', [[0, 1]], [[0, 1]], scores=logits)]
    assert evaluate(labeled, entropy=True)['target/entropy'] == 100
    unlabeled = [make_sample('target', [[0, 1]], scores=logits)]
    assert 'target/entropy' not in evaluate(unlabeled, entropy=False)
    with pytest.raises(ValueError, match=r'a/b.png: entropy=True needs seg_logits'):
        evaluate([make_sample('target', [[0, 1]])], entropy=True)


@pytest.mark.parametrize(
    ('sample', 'message'),
    [
        (make_sample('target', [[0, 9]], [[0, 1]], seg_map_path='l.png'), 'a/b.png with l.png: predicted class 9'),
        (make_sample('target', [[0, 1]], [[0, 77]]), r'a/b.png: ground-truth ids \[77\]'),
        (make_sample('target', [[0, 1]], [[0], [1]]), r'a/b.png: the prediction is \(1, 2\) pixels'),
        (make_sample(None, [[0, 1]]), r"a/b.png: the data sample has no 'domain'; add dict\(type='TagDomain'"),
    ],
)
def test_bad_samples_are_named(sample, message):
    with pytest.raises(ValueError, match=message):
        evaluate([sample])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(class_lists=dict(mIoU=[0])), "'mIoU' cannot be the name"),
        (dict(class_lists={'a/b': [0]}), "'a/b' cannot be the name"),
        (dict(class_lists=dict(few=[])), "'few' is empty"),
        (dict(class_lists=dict(few=[5])), "'few' has 5, which is none of the 5 classes: road, wall"),
        (dict(class_lists=dict(few=['raod'])), "'few' has 'raod'"),
        (dict(entropy='always'), "entropy must be True, False or 'auto', got 'always'"),
        (dict(ignore_index=-100), 'ignore_index must not be negative, got -100'),
        (dict(iou_metrics=['mIoU', 'IoU']), 'iou_metrics: IoU is none of mIoU, mDice, mFscore'),
        (dict(iou_metrics='mDice', class_lists=dict(few=[0])), "class_lists .* add 'mIoU' to iou_metrics"),
        (dict(format_only=True), 'format_only=True .* needs output_dir'),
        (dict(per_image='a.csv', format_only=True, output_dir='x'), 'per_image .* leave one out'),
        (dict(per_image='no such folder/a.csv'), 'per_image: no such folder/a.csv must be a file to write'),
        (dict(keep_results=False), 'keep_results=False: predictions stay'),
    ],
)
def test_bad_arguments_are_refused_before_any_image(arguments, message):
    with pytest.raises(ValueError, match=message):
        Evaluator(DomainIoUMetric(**arguments)).dataset_meta = dict(classes=CLASSES)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(iou_metrics=['mIoU', 'mDice', 'mFscore']),
        dict(iou_metrics='mDice', nan_to_num=0),
        dict(iou_metrics=['mFscore'], beta=2, nan_to_num=100),
    ],
)
def test_it_takes_what_mmsegs_metric_takes(arguments):
    # the last class is in neither
    samples = [one for one in random_samples(6, 8) if one.domain == 'target']
    scores = evaluate(samples, classes=(*CLASSES, 'nowhere'), **arguments)
    metric = IoUMetric(**arguments)
    metric.dataset_meta = dict(classes=(*CLASSES, 'nowhere'))
    metric.process({}, [sample.to_dict() for sample in samples])
    for name, value in metric.evaluate(len(samples)).items():
        assert scores[f'target/{name}'] == pytest.approx(float(value), abs=0.0101), name
    kinds = {'mIoU': 'IoU', 'mDice': 'Dice', 'mFscore': 'Fscore'}
    for name, kind in kinds.items():
        assert (f'target/{name}' in scores) == (f'target/{kind}.road' in scores) == (name in arguments['iou_metrics'])


def test_predictions_can_be_written_without_scores(tmp_path):
    samples = [make_sample('target', [[0, 4]], name='frame.png')]
    assert evaluate(samples, output_dir=str(tmp_path), format_only=True) == {}
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / 'target' / 'frame.png')), [[0, 4]])


def test_several_targets_are_scored_apart_and_on_average(log_file):
    samples = random_samples(5, 9)
    names = ['target_night', 'target_fog', 'source']
    for index, sample in enumerate(samples):
        sample.set_metainfo(dict(domain=names[min(index // 2, 2)]))  # 2 at night, 2 in fog, 5 of the source
    samples.append(samples[0].clone())
    samples[-1].set_metainfo(dict(img_path='again.png'))
    scores = evaluate(samples, class_lists=dict(two=['road', 'sky']))
    apart = {
        name: evaluate([sample for sample in samples if sample.domain == name], class_lists=dict(two=['road', 'sky']))
        for name in names
    }
    for name in names:
        own = {key: value for key, value in apart[name].items() if key.startswith(f'{name}/')}
        assert len(own) > 10 and {key: scores[key] for key in own} == own
    for score in {key.split('/')[1] for key in apart['target_fog']}:
        night, fog = (apart[f'target_{part}'][f'target_{part}/{score}'] for part in ('night', 'fog'))
        # However many images a domain has, it counts once.
        expected = night + fog if score == 'images' else (night + fog) / 2
        assert scores[f'target/{score}'] == pytest.approx(expected, abs=0.0101), score
    assert scores['target_night/images'] == 3 and scores['target/images'] == 5
    shares = {name: [scores[f'{name}/share.{c}'] for c in CLASSES] for name in ('source', 'target', 'target_fog')}
    for name in ('target', 'target_fog'):
        distance = sum(abs(a - b) for a, b in zip(shares[name], shares['source'], strict=True)) / 2
        assert scores[f'{name}/share_distance'] == pytest.approx(distance, abs=0.03)
    assert 'source/share_distance' not in scores
    log = log_file.read_text()
    assert 'target (5 images; mean of target_fog, target_night): mIoU' in log
    assert 'target_fog (2 images): mIoU' in log


def test_what_one_of_several_targets_lacks_is_the_mean_of_the_others():
    samples = [
        make_sample('target_day', [[0, 1]], [[0, 0]]),  # IoU 50 and 0
        make_sample('target_night', [[0, 3]], [[0, 3]]),  # IoU 100 and, of sky alone, 100
        make_sample('target_rain', [[0, 0]]),
    ]
    scores = evaluate(samples)
    assert scores['target/mIoU'] == (25 + 100) / 2
    assert scores['target/IoU.road'] == 75
    assert scores['target/IoU.sky'] == 100
    assert math.isnan(scores['target/IoU.bus'])
    assert scores['target/share.road'] == round(200 / 3, 2)
    assert 'target_rain/mIoU' not in scores


def test_a_target_beside_named_targets_is_refused():
    samples = [make_sample('target', [[0, 1]]), make_sample('target_night', [[0, 1]])]
    with pytest.raises(ValueError, match=r"target, target_night cannot .* 'target' is the name .*='target_day'"):
        evaluate(samples)
    with pytest.raises(ValueError, match=r"must be named .*; got 'real'"):
        evaluate([make_sample('real', [[0, 1]])])


def test_predictions_are_written_per_domain(tmp_path):
    samples = [
        make_sample('target', [[0, 4]], [[0, 4]], name='x/frame.png'),
        make_sample('source', [[3, 1]], name='y/frame.jpg', reduce_zero_label=True),
    ]
    evaluate(samples, output_dir=str(tmp_path))
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / 'target' / 'frame.png')), [[0, 4]])
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / 'source' / 'frame.png')), [[4, 2]])


def test_two_predictions_do_not_share_a_file(tmp_path):
    samples = [make_sample('target', [[label, 4]], name=f'{label}/frame.png') for label in (0, 1)]
    message = (
        rf'predictions of 0/frame.png and of 1/frame.png would both be written to {tmp_path}/target/frame.png. Give '
        r"their data sets domains of their own, such as TagDomain\(domain='target_a'\), or rename the images"
    )
    with pytest.raises(ValueError, match=message):
        evaluate(samples, output_dir=str(tmp_path))
    # once more the same image, as in a second validation
    evaluate([samples[1], samples[1]], output_dir=str(tmp_path))
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / 'target' / 'frame.png')), [[1, 4]])


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r'metainfo.classes has sky more than once'):
        evaluate([make_sample('target', [[0, 1]])], classes=('road', 'sky', 'bus', 'sky'))


def score_one_share(rank, world_size, folder, count):
    """Score every ``world_size``-th sample, as a validation loop of several processes does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world_size
    )
    samples = random_samples(4, count)
    evaluator = Evaluator(DomainIoUMetric(class_lists=dict(two=['road', 'sky'])))
    evaluator.dataset_meta = dict(classes=CLASSES)
    for index in DefaultSampler(samples, shuffle=False):
        evaluator.process([samples[index]])
    scores = evaluator.evaluate(count)
    with open(f'{folder}/{rank}.json', 'w') as file:
        json.dump(scores, file)
    torch.distributed.destroy_process_group()


def test_two_processes_score_what_one_scores(tmp_path, monkeypatch):
    # An odd number of images: the sampler gives the second process the first image once more, which must not count.
    count = 7
    monkeypatch.chdir(tmp_path)  # mmengine collects in the current folder
    # Forked as a data loader's workers are, which spares two imports of everything.
    multiprocessing.start_processes(score_one_share, (2, str(tmp_path), count), nprocs=2, start_method='fork')
    expected = evaluate(random_samples(4, count), class_lists=dict(two=['road', 'sky']))
    for rank in range(2):
        assert json.loads((tmp_path / f'{rank}.json').read_text()) == expected


def write_images(folder, count, labeled):
    rng = np.random.default_rng(0)
    for name in ('img', 'label'):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        Image.fromarray(rng.integers(256, size=(8, 16, 3), dtype=np.uint8)).save(folder / f'img/{index}.png')
        if labeled:
            Image.fromarray(rng.integers(3, size=(8, 16), dtype=np.uint8)).save(folder / f'label/{index}.png')


def test_a_real_validation_logs_every_class_and_prints_the_means(tmp_path):
    classes = ('road', 'traffic light', 'bus', 'sky')
    write_images(tmp_path / 'target', 2, labeled=True)
    write_images(tmp_path / 'source', 3, labeled=True)
    meta_keys = ('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'domain')

    def part(domain):
        return dict(
            type='BaseSegDataset',
            metainfo=dict(classes=classes),
            data_root=str(tmp_path / domain),
            data_prefix=dict(img_path='img', seg_map_path='label'),
            img_suffix='.png',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(8, 4)),
                dict(type='LoadAnnotations'),
                dict(type='TagDomain', domain=domain),
                dict(type='PackSegInputs', meta_keys=meta_keys),
            ],
        )

    config = Config(
        dict(
            work_dir=str(tmp_path / 'work'),
            default_scope='mmseg',
            model=dict(
                type='EncoderDecoder',
                data_preprocessor=dict(type='SegDataPreProcessor', mean=[0] * 3, std=[255] * 3),
                backbone=dict(
                    type='UNet',
                    base_channels=4,
                    num_stages=2,
                    strides=(1, 1),
                    enc_num_convs=(1, 1),
                    dec_num_convs=(1,),
                    downsamples=(True,),
                    enc_dilations=(1, 1),
                    dec_dilations=(1,),
                    norm_eval=True,
                ),
                decode_head=dict(
                    type='FCNHead', in_channels=4, in_index=1, channels=4, num_convs=1, num_classes=len(classes)
                ),
                test_cfg=dict(mode='whole'),
            ),
            val_dataloader=dict(
                batch_size=2,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type='ConcatDataset', datasets=[part('target'), part('source')]),
            ),
            val_cfg=dict(type='ValLoop'),
            val_evaluator=dict(type='DomainIoUMetric'),
            log_processor=dict(type='DomainLogProcessor', by_epoch=False),
            default_hooks=dict(logger=dict(type='LoggerHook', log_metric_by_epoch=False)),
            visualizer=dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]),
            experiment_name=tmp_path.name,
        )
    )
    runner = Runner.from_cfg(config)
    scores = runner.val()
    assert scores['target/images'] == 2
    assert scores['source/images'] == 3
    (log_file,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    logged = json.loads(log_file.read_text())
    assert math.isnan(logged['target/IoU.sky']) or 'target/IoU.sky' in scores
    for name, value in scores.items():
        assert logged[name] == pytest.approx(value, nan_ok=True), name
    (text_file,) = (tmp_path / 'work').glob('*/*.log')
    (line,) = re.findall(r'Iter\(val\) \[3/3\].*', text_file.read_text())
    assert f'target/mIoU: {scores["target/mIoU"]:.4f}  ' in line
    assert f'source/aAcc: {scores["source/aAcc"]:.4f}  ' in line
    assert 'IoU.' not in line
    assert 'share.' not in line
    assert 'traffic light' not in line


def test_class_table_and_scores_of_each_image_equal_those_of_scikit_learn(tmp_path):
    samples = random_samples(7, 7)
    samples += [make_sample('target', [[0, 1]], name='no labels.png'), make_sample('target', [[4, 4]], [[4, 255]])]
    metric = DomainIoUMetric(per_image=str(tmp_path / 'images.csv'))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [sample.to_dict() for sample in samples])
    metric.evaluate(len(samples))

    labels = list(range(len(CLASSES)))
    for domain in ('source', 'target'):
        pairs = [scored_pixels(sample) for sample in samples if sample.domain == domain and 'gt_sem_seg' in sample]
        truth, prediction = (np.concatenate(values) for values in zip(*pairs, strict=True))
        expected = confusion_matrix(truth, prediction, labels=labels)
        np.testing.assert_array_equal(metric.confusion[domain], expected)

    with open(tmp_path / 'images.csv', newline='') as file:
        lines = list(csv.DictReader(file))
    by_name = {(sample.domain, sample.img_path): sample for sample in samples}
    assert [(line['domain'], line['image']) for line in lines] == sorted(by_name)
    for line in lines:
        sample = by_name[line['domain'], line['image']]
        scores = [line[f'IoU.{name}'] for name in CLASSES]
        if 'gt_sem_seg' not in sample:
            assert {line['mIoU'], line['aAcc'], *scores} == {''}
            continue
        truth, prediction = scored_pixels(sample)
        iou = np.full(len(CLASSES), np.nan)
        present = np.union1d(truth, prediction)
        iou[present] = jaccard_score(truth, prediction, labels=present, average=None) * 100
        for found, expected in zip(
            [line['mIoU'], line['aAcc'], *scores],
            [np.nanmean(iou), accuracy_score(truth, prediction) * 100, *iou],
            strict=True,
        ):
            assert float(found or 'nan') == pytest.approx(expected, abs=0.0051, nan_ok=True)


def scored_pixels(sample):
    truth, prediction = sample.gt_sem_seg.data.numpy().ravel(), sample.pred_sem_seg.data.numpy().ravel()
    return truth[truth != 255], prediction[truth != 255]
