"""Self-training, against a step of its own in plain PyTorch."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from benchmarks.naive_methods import PlainSelfTraining
from cda_mmseg.models.adaptations.class_mix import draw_class_mask
from cda_mmseg.models.adaptations.photometric import PhotometricJitter, blur
from cda_mmseg.models.adaptations.self_training import draw_block_mask
from cda_mmseg.models.losses import SoftmaxCrossEntropyLoss
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.adaptations.contract_model import OF_THE_PAPER, config, train
from tests.models.adaptations.plain_step import train_plainly
from tests.models.segmentors.tiny_model import MEAN, SEED, STD, build, make_data, model_config, optimizer_config
from tests.models.segmentors.trained import differences, part

init_default_scope('mmseg')
JITTER = dict(strength=0.25)


def settings(**changes) -> dict:
    adaptation = dict(type='SelfTraining', momentum=0.6, threshold=0.29, jitter=JITTER, begin=0.2)
    result = config(self_training={**adaptation, **changes})
    result['decode_head'] = {**result['decode_head'], 'loss_decode': dict(type='SoftmaxCrossEntropyLoss')}
    return result


def naive_train(model, kind: str, iterations: int, length: int, threshold=0.29, momentum=0.6, masked=0.0) -> None:
    begin = math.ceil(0.2 * length)
    plain = PlainSelfTraining(model, PhotometricJitter(**JITTER), threshold, momentum, begin, masked)
    plain.pixel_loss = SoftmaxCrossEntropyLoss(reduction='none')
    if kind == 'SGD':
        plain.optimizers = [torch.optim.SGD(plain.student.parameters(), lr=0.05, momentum=0.9)]
    train_plainly(plain, iterations, batch_size=2)


@pytest.mark.parametrize('kind', ['SGD', 'Adam'])
@pytest.mark.parametrize('masked', [0.0, 0.5])
def test_step_equals_the_naive_one_bit_for_bit(kind, masked):
    """A supervised warm start of two iterations, then three with the teacher; dropout on."""
    threshold = {'SGD': 0.29, 'Adam': 0.25}[kind]  # some pixels are surer, others not
    ours = build(settings(masked_weight=masked, block_size=16, threshold=threshold))
    naive = build(settings())
    naive.adaptations.clear()
    before = copy.deepcopy(naive)
    logs = train(ours, 5, length=10, kind=kind, batch_size=2)
    naive_train(naive, kind, 5, 10, threshold, masked=masked)
    own = {name: value for name, value in ours.named_parameters() if not name.startswith('adaptations.')}
    assert all(torch.equal(value, own[name]) for name, value in naive.named_parameters())
    assert len(differences(before, naive)) == len(own)
    # The test is one only if some target pixels count and others do not.
    assert any(0 < log['self_training.confidence'] < 1 for log in logs[2:])
    assert 'mixed.decode.loss_ce' not in logs[1]


def test_equality_can_fail():
    ours, naive = build(settings(momentum=0.7)), build(settings())
    naive.adaptations.clear()
    train(ours, 5, length=10, batch_size=2)
    naive_train(naive, 'SGD', 5, 10)
    own = dict(ours.named_parameters())
    assert not all(torch.equal(value, own[name]) for name, value in naive.named_parameters())


@pytest.mark.parametrize('iteration, alpha', [(0, 0.0), (1, 0.5), (3, 0.75), (98, 1 - 1 / 99), (400, 0.99)])
def test_momentum_grows_as_published(iteration, alpha):
    """min(1 - 1/(i + 1), .99): a copy at first."""
    model = build(settings(begin=0.0, momentum=0.99))
    teacher, moved = model.adaptations['self_training'].teacher, []
    teacher.follow = lambda student, momentum: moved.append(momentum)
    train(model, 1, first=iteration, length=1000)
    assert moved == [pytest.approx(alpha)]


def test_the_teacher_waits_for_the_end_of_an_accumulation_cycle():
    model = build(settings(begin=0.0))
    teacher, moved = model.adaptations['self_training'].teacher, []
    follow = teacher.follow
    teacher.follow = lambda student, momentum: moved.append(momentum) or follow(student, momentum)
    train(model, 6, length=10, accumulation=2)
    assert moved == [0.0, 0.5, 0.6]


def test_a_resumed_teacher_goes_on_bit_for_bit():
    """Through a state dict, in the middle of the run; Adam's state goes with it."""
    whole = build(settings())
    optimizers = train_with_optimizers(whole, range(6))
    first = build(settings())
    state = train_with_optimizers(first, range(4)).state_dict()
    second = build(settings())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train_with_optimizers(second, range(4, 6), copy.deepcopy(state))
    assert differences(whole, second) == {} and optimizers is not None


def train_with_optimizers(model, iterations, state=None):
    player = optimizer_config('Adam')['encoder']
    optimizers = build_optim_wrapper(model, dict(constructor='PlayerOptimWrapperConstructor', encoder=player))
    if state:
        optimizers.load_state_dict(state)
    for iteration in iterations:
        model.set_progress(TrainingProgress(iteration, 10, SEED, 0))
        model.train_step(make_data(iteration), optimizers)
    return optimizers


def test_an_arm_that_begins_late_copies_the_student_first():
    """As after --branch-from, beyond the iteration at which the teacher would have begun."""
    model = build(settings(begin=0.0))
    student = copy.deepcopy(dict(model.encoder.named_parameters()))
    train(model, 1, first=7, length=10)
    teacher = dict(model.adaptations['self_training'].teacher.network.named_parameters())
    assert all(torch.equal(value, teacher[name]) for name, value in student.items())


def test_the_teacher_has_no_chance_in_it_and_is_never_exported():
    model = build(settings())
    teacher = model.train().adaptations['self_training'].teacher
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    images = torch.rand(1, 3, 32, 48)
    assert torch.equal(teacher.predict(images), teacher.predict(images))
    plain = MODELS.build(
        {
            **{key: model_config()[key] for key in ('data_preprocessor', 'backbone', 'decode_head')},
            'type': 'EncoderDecoder',
        }
    )
    missing, unexpected = plain.load_state_dict(model.state_dict(), strict=False)
    assert missing == [] and all(name.startswith('adaptations.self_training.teacher.') for name in unexpected)


def test_the_student_begins_as_without_self_training():
    assert all(
        torch.equal(value, dict(build(settings()).named_parameters())[name])
        for name, value in build(config()).named_parameters()
    )


def test_the_papers_players_and_self_training_in_one_model():
    paper = model_config()
    adversary = dict(type='ImageAdversary', **{key: paper[key] for key in OF_THE_PAPER})
    combined = settings(begin=0.0)
    combined['adaptations']['image_adversary'] = adversary
    model = build(combined)
    before = copy.deepcopy(model)
    log = train(model, 2, names=('encoder', 'generator', 'discriminator'))[-1]
    assert log['loss'] == pytest.approx(
        log['decode.loss_ce'] + log['encoder.loss_adversarial'] + log['mixed.decode.loss_ce'], rel=1e-5
    )
    assert {part(name) for name in differences(before, model)} >= {'backbone', 'generator', 'discriminator'}


def test_pseudo_labels_never_meet_the_sources_loss():
    """The Conservative Loss pulls hardest at wrong labels: the target has cross entropy, whatever the source has."""
    combined = settings(begin=0.0)
    combined['decode_head']['loss_decode'] = dict(type='ConservativeLoss', loss_weight=5.0, loss_name='loss_cl')
    model = build(combined)
    log = train(model, 1)[0]
    assert {'decode.loss_cl', 'mixed.decode.loss_ce'} <= log.keys()
    assert model.decode_head.loss_decode.loss_name == 'loss_cl'


@given(st.lists(st.integers(0, 18), min_size=1, max_size=12), st.integers(0, 2**31))
def test_masks_hold_half_of_an_images_classes_rounded_up(classes, seed):
    label = torch.tensor([*classes, 255, 255])[None, None].expand(1, 3, -1)
    torch.manual_seed(seed)
    mask = draw_class_mask(label, 19)
    pasted = set(label[mask].tolist())
    assert len(pasted) == math.ceil(len(set(classes)) / 2) and 255 not in pasted
    assert torch.equal(mask, torch.isin(label, torch.tensor(sorted(pasted))))


def test_every_class_is_pasted_equally_often():
    label = torch.arange(5).repeat(1, 4, 1)
    drawn = torch.stack([draw_class_mask(label, 19)[0, 0] for _ in range(2000)]).float().mean(0)
    assert (drawn - 3 / 5).abs().max() < 0.05


def test_images_of_two_sizes_are_refused():
    model = build(settings(begin=0.0))
    model.data_preprocessor.size, model.data_preprocessor.size_divisor = None, 8
    data = make_data(0)
    data['target']['inputs'] = [image[:, :, :40] for image in data['target']['inputs']]
    with pytest.raises(ValueError, match=r'SelfTraining mixes images of one size'):
        train(model, 1, data=data)


def test_margins_weigh_nothing_and_leave_q_alone():
    plain, margins = (build(settings(begin=0.0, ignored_rows=rows)) for rows in ((0, 0), (5, 7)))
    weights = []
    for model in (plain, margins):
        losses = model.segmentation_losses
        model.segmentation_losses = lambda scores, labels, prefix='', weight=None, loss=None, losses=losses: (
            weights.append(weight) or losses(scores, labels, prefix, weight, loss)
        )
    logs = [train(model, 1)[0] for model in (plain, margins)]
    assert logs[0]['self_training.confidence'] == logs[1]['self_training.confidence']
    full, cut = (weight for weight in weights if weight is not None)
    source = full == 1
    assert (cut[:, :5][~source[:, :5]] == 0).all() and (cut[:, -7:][~source[:, -7:]] == 0).all()
    assert torch.equal(cut[:, 5:-7], full[:, 5:-7])


@pytest.mark.parametrize('rows', [(1,), (-1, 0), (0.5, 0), (20, 12)])
def test_margins_that_cannot_be_meant_are_refused(rows):
    """The last ones cover all 32 rows: nothing of the target would be learnt."""
    with pytest.raises(ValueError, match='ignored_rows'):
        train(build(settings(begin=0.0, ignored_rows=rows)), 1)


@pytest.mark.parametrize('jitter', [dict(strength=1.5), dict(probability=-0.1), dict(blur_probability=50)], ids=str)
def test_jitter_that_cannot_be_meant_is_refused(jitter):
    (name,) = jitter
    with pytest.raises(ValueError, match=f'PhotometricJitter: {name} must be .* at most 1'):
        build(settings(jitter=jitter))


def test_blocks_are_masked_as_published():
    """Kept where U > ratio, on a grid of blocks, nearest."""
    torch.manual_seed(1)
    mask = draw_block_mask(torch.zeros(8, 3, 128, 192), 0.7, 32)
    assert mask.shape == (8, 1, 128, 192) and mask.unique().tolist() == [0, 1]
    blocks = mask.view(8, 4, 32, 6, 32)
    assert torch.equal(blocks.amax((2, 4)), blocks.amin((2, 4)))
    assert abs(mask.mean().item() - 0.3) < 0.12


def test_hue_turns_the_colours_and_keeps_grey():
    preprocessor = MODELS.build(dict(type='SegDataPreProcessor', mean=MEAN, std=STD, bgr_to_rgb=True, size=(8, 8)))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    grey = (torch.full((1, 3, 8, 8), 90.0) - mean) / std
    turned = PhotometricJitter._change_colours(grey, preprocessor, 1.0, 1.0, 1.0, 0.25)
    assert torch.allclose(turned, grey, atol=1e-4)
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 120.0
    turned = PhotometricJitter._change_colours((red - mean) / std, preprocessor, 1.0, 1.0, 1.0, 1 / 3)
    picture = (turned * std + mean)[0, :, 0, 0]
    assert picture.argmax() != 0
    brighter = PhotometricJitter._change_colours(grey, preprocessor, 1.2, 1.0, 1.0, 0.0)
    assert torch.allclose(brighter * std + mean, torch.full((1, 3, 8, 8), 108.0), atol=1e-2)


def test_blur_is_a_gaussian():
    image = torch.zeros(1, 1, 40, 60)
    image[0, 0, 20, 30] = 1
    sigma = 0.8
    blurred = blur(image, sigma)[0, 0].numpy()
    rows, columns = (
        np.exp(-((np.arange(size) - centre) ** 2) / (2 * sigma**2)) for size, centre in ((40, 20), (60, 30))
    )
    expected = np.outer(rows, columns)
    np.testing.assert_allclose(blurred, expected / expected.sum(), atol=2e-3)


def test_jitter_is_drawn_in_four_of_five_batches():
    preprocessor = MODELS.build(dict(type='SegDataPreProcessor', mean=MEAN, std=STD, bgr_to_rgb=True, size=(8, 8)))
    images = torch.randn(1, 3, 8, 8)
    jitter = PhotometricJitter(blur_probability=0.0)
    changed = [not torch.equal(jitter(images, preprocessor), images) for _ in range(500)]
    assert abs(np.mean(changed) - 0.8) < 0.06
