"""The training step against the paper's alternation written down plainly."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder, FCNHead
from mmseg.registry import MODELS

from cda_mmseg.models.segmentors import (
    AdversarialUDASegmentor,
    NonFiniteLossError,
    Step,
    UnreachedParametersError,
)
from cda_mmseg.models.segmentors.execution import Execution
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.segmentors.tiny_model import (
    SEED,
    build,
    double_precision,
    make_data,
    model_config,
    optimizer_config,
)
from tests.models.segmentors.trained import FOREIGN, differences, part, train_naively, train_ours

init_default_scope('mmseg')


@pytest.mark.parametrize('kind', ['SGD', 'Adam'])
@pytest.mark.parametrize('generators', ['shared', 'per_domain'])
@pytest.mark.parametrize('discriminators', ['shared', 'per_domain'])
def test_step_equals_the_naive_one_bit_for_bit(kind, generators, discriminators):
    """With dropout and noise on, after several steps."""
    config = model_config(generator_sharing=generators, discriminator_sharing=discriminators)
    ours, naive = build(config), build(config)
    before = copy.deepcopy(ours)
    train_ours(ours, kind, 4)
    train_naively(naive, kind, 4)
    assert len(differences(before, ours)) == len(list(ours.parameters()))
    assert differences(ours, naive) == {}


def test_equality_can_fail():
    """One wrong sign of the encoder's labels shows in the encoder's weights."""
    ours, naive = build(model_config(encoder_labels='own')), build(model_config())
    train_ours(ours, 'SGD', 1)
    train_naively(naive, 'SGD', 1)
    assert {name.split('.')[0] for name in differences(ours, naive)} == {'backbone'}


@pytest.mark.parametrize('batch_size, accumulation', [(2, 1), (1, 2)])
def test_batches_and_accumulation_equal_the_naive_ones(batch_size, accumulation):
    ours, naive = build(model_config()), build(model_config())
    train_ours(ours, 'Adam', 4, batch_size, accumulation)
    train_naively(naive, 'Adam', 4, batch_size, accumulation)
    assert differences(ours, naive) == {}


def test_conservative_loss_in_the_step_equals_autograd_in_float64(monkeypatch):
    """The closed-form loss inside the step against autograd of Eq. 3 inside the naive one."""
    config = model_config()
    config['decode_head'] |= dict(loss_decode=dict(type='ConservativeLoss', loss_weight=5.0), zero_init=True)
    ours, naive = build(config, torch.float64), build(config, torch.float64)

    def eq3(logits, labels):
        valid = labels != 255
        s = -logits.log_softmax(1).gather(1, labels.where(valid, 0)[:, None])[:, 0][valid]
        return (5 * (1 - s) ** 2 * s.log()).mean()

    monkeypatch.setattr(ours.data_preprocessor, 'forward', double_precision(ours.data_preprocessor.forward))
    train_ours(ours, 'SGD', 3)
    train_naively(naive, 'SGD', 3, segmentation_loss=eq3)
    assert max(differences(ours, naive).values(), default=0) < 1e-10


@pytest.mark.parametrize('sharing', ['shared', 'per_domain'])
def test_encoder_and_generator_are_pushed_by_different_judges(sharing):
    """Paper §3.4: only E's update crosses the domains."""
    model = build(model_config(discriminator_sharing=sharing))
    step = make_step(model)
    fakes = {domain: torch.rand(1, 3, 32, 48, requires_grad=True) for domain in ('source', 'target')}
    fool = model.adversary._fool
    own = torch.autograd.grad(fool(fakes, {'source': 'source', 'target': 'target'}, step), fakes.values())
    cross = torch.autograd.grad(fool(fakes, {'source': 'target', 'target': 'source'}, step), fakes.values())
    for one, other in zip(own, cross, strict=True):
        assert (one - other).norm() > 0.1 * one.norm()


@pytest.mark.parametrize('sharing', ['shared', 'per_domain'])
def test_encoder_asks_the_other_domain(sharing):
    """D and G are asked about the picture's own domain, E about the other one, in this order."""
    model = build(model_config(discriminator_sharing=sharing, encoder_adversarial_weight=1.0))
    asked = []
    judge = model.adversary._discriminate
    model.adversary._discriminate = lambda questions, step: asked.extend(questions) or judge(questions, step)
    optimizers = build_optim_wrapper(model, optimizer_config('SGD'))
    model.train_step(make_data(0), optimizers)
    crossings = [(name.split('/')[0], judging) for judging, name, _ in asked]
    of_d, of_g, of_e = crossings[:4], crossings[4:6], crossings[6:]
    assert of_d == [('source', 'source')] * 2 + [('target', 'target')] * 2
    assert of_g == [('source', 'source'), ('target', 'target')]
    assert of_e == [('source', 'target'), ('target', 'source')]


def make_step(model):
    players = {name: model.player(name) for name in model.player_names}
    progress, images = TrainingProgress(), {'source': torch.zeros(1, 3, 32, 48)}
    return Step(images, {}, {}, model.data_preprocessor, progress, players, players, {}, Execution(), set())


def test_a_step_leaves_the_callers_randomness_alone():
    model = build(model_config())
    optimizers = build_optim_wrapper(model, optimizer_config('SGD'))
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    model.train_step(make_data(0), optimizers)
    assert torch.equal(torch.rand(5), expected)


def test_targets_labels_are_not_read():
    with_labels, without = build(model_config()), build(model_config())
    for model, labelled in ((with_labels, True), (without, False)):
        optimizers = build_optim_wrapper(model, optimizer_config('SGD'))
        data = make_data(0)
        if labelled:
            label = torch.zeros(1, 32, 48, dtype=torch.long)
            data['target']['data_samples'][0].gt_sem_seg = PixelData(data=label)
        model.train_step(data, optimizers)
    assert differences(with_labels, without) == {}


def test_requires_grad_flags_come_back_as_they_were():
    config = model_config()
    config['backbone']['frozen_stages'] = 1
    model = build(config)
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    assert not all(flags.values())
    before = copy.deepcopy(model)
    train_ours(model, 'SGD', 2)
    assert {name: value.requires_grad for name, value in model.named_parameters()} == flags
    moved = differences(before, model)
    assert moved.keys() == {name for name, flag in flags.items() if flag}


@pytest.mark.parametrize(
    'weights, moved',
    [
        ((0, 0.1, 1), {'backbone', 'decode_head', 'generator', 'discriminator'}),
        ((0, 0, 1), {'backbone', 'decode_head', 'generator'}),
        ((0.1, 0, 0), {'backbone', 'decode_head', 'discriminator'}),
        ((0, 0, 0), {'backbone', 'decode_head'}),
    ],
)
def test_players_without_a_loss_are_not_stepped(weights, moved):
    keys = ('encoder_adversarial_weight', 'generator_adversarial_weight', 'reconstruction_weight')
    model = build(model_config(**dict(zip(keys, weights, strict=True))))
    before = copy.deepcopy(model)
    train_ours(model, 'Adam', 2)
    assert {part(name) for name in differences(before, model)} == moved


def test_source_only_equals_the_method_with_everything_switched_off():
    keys = ('encoder_adversarial_weight', 'generator_adversarial_weight', 'reconstruction_weight')
    method = build(model_config(**dict.fromkeys(keys, 0)))
    config = model_config(type='UDASegmentor')
    for key in ('generator', 'discriminator', 'loss_gan', *keys):
        config.pop(key)
    baseline = build(config)
    baseline.load_state_dict(method.state_dict(), strict=False)
    optimizers = build_optim_wrapper(
        baseline, {k: v for k, v in optimizer_config('SGD').items() if k in ('constructor', 'encoder')}
    )
    for iteration in range(3):
        baseline.set_progress(TrainingProgress(iteration, 3, SEED, 0))
        baseline.train_step({'source': make_data(iteration)['source']}, optimizers)
    train_ours(method, 'SGD', 3)
    assert differences(baseline, method) == {}


def test_checkpoint_loads_into_a_plain_encoder_decoder():
    model = build(model_config())
    train_ours(model, 'SGD', 1)
    config = {key: model_config()[key] for key in ('data_preprocessor', 'backbone', 'decode_head')}
    plain = MODELS.build(dict(type='EncoderDecoder', test_cfg=ConfigDict(mode='whole'), **config)).eval()
    missing, unexpected = plain.load_state_dict(model.state_dict(), strict=False)
    assert missing == []
    assert {part(key) for key in unexpected} == {'generator', 'discriminator'}
    model.eval().test_cfg = ConfigDict(mode='whole')
    batch = torch.rand(1, 3, 40, 56)
    assert torch.equal(
        model.predict(batch)[0].seg_logits.data,
        plain.predict(batch)[0].seg_logits.data,
    )


def test_prediction_is_mmsegs_own_code():
    inherited = (
        'forward',
        'predict',
        'inference',
        'slide_inference',
        'whole_inference',
        'postprocess_result',
        '_forward',
    )
    for name in (*inherited, 'extract_feat', 'encode_decode', 'aug_test', 'val_step', 'test_step'):
        method = getattr(AdversarialUDASegmentor, name, None)
        assert method is getattr(EncoderDecoder, name, None), name


def test_non_finite_loss_stops_before_the_update_and_names_everything():
    model = build(model_config())
    optimizers = build_optim_wrapper(model, optimizer_config('SGD'))
    with torch.no_grad():
        model.decode_head.skip_scores[0].bias.fill_(float('nan'))
    before = {name: value.clone() for name, value in model.backbone.named_parameters()}
    with pytest.raises(NonFiniteLossError, match=r'encoder.*decode\.loss_ce = nan.*source_0\.png.*target_0\.png'):
        model.train_step(make_data(0), optimizers)
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.named_parameters())


def test_parameters_that_no_loss_reaches_are_named():
    model = build(model_config())
    model.decode_head.forgotten = torch.nn.Linear(2, 2)
    optimizers = build_optim_wrapper(model, optimizer_config('SGD'))
    with pytest.raises(UnreachedParametersError, match=r'decode_head\.forgotten\.weight'):
        model.train_step(make_data(0), optimizers)


class HeadWithAnotherLoss(FCNHead):
    """Stand in for cascade and mask-classification heads, whose loss needs more than forward(x)."""

    def loss(self, inputs, batch_data_samples, train_cfg):
        raise AssertionError('never reached')


def test_heads_with_another_kind_of_loss_are_refused():
    head = dict(type=HeadWithAnotherLoss, in_channels=16, in_index=2, channels=4, num_classes=5)
    with pytest.raises(TypeError, match='decode head HeadWithAnotherLoss'):
        build(model_config(decode_head=head))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(encoder_adversarial_weight=-1), 'encoder_adversarial_weight'),
        (dict(reconstruction_weight=float('nan')), 'reconstruction_weight'),
        (dict(encoder_labels='crossed'), "'crossed'"),
        (dict(generator_sharing='both'), 'generator_sharing'),
    ],
)
def test_bad_options_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build(model_config(**changes))


def test_batch_norm_statistics_move_once_per_domain_source_first():
    config = model_config()
    config['backbone'] = dict(type='ResNetV1c', depth=18, base_channels=4, norm_cfg=dict(type='BN'))
    config['backbone'] |= dict(stem_channels=4, out_indices=(1, 2, 3))
    config['decode_head']['in_channels'] = [8, 16, 32]
    model = build(config)
    norm = model.backbone.stem[1]
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    before = norm.running_mean.clone()
    train_ours(model, 'SGD', 1)
    assert len(seen) == 2
    expected = before
    for batch in seen:
        expected = 0.9 * expected + 0.1 * batch.mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)
    source = model.data_preprocessor(make_data(0)['source'], training=True)['inputs']
    torch.testing.assert_close(seen[0], build(config).backbone.stem[0](source))


@pytest.mark.parametrize('batch_size', [1, 2])
def test_batch_norm_of_a_single_value_is_named_before_any_update(batch_size):
    model = build(model_config(**copy.deepcopy(FOREIGN['resnet-aspp-aux'])))
    before = copy.deepcopy(model.state_dict())
    if batch_size > 1:
        train_ours(model, 'SGD', 1, batch_size)
        return
    message = r'model\.decode_head\.image_pool\.1\.bn .*one value a channel: .*\(1, 8, 1, 1\).*batch_size=2'
    with pytest.raises(ValueError, match=message):
        train_ours(model, 'SGD', 1, batch_size)
    parameters = dict(model.named_parameters())
    assert all(torch.equal(parameters[name], before[name]) for name in parameters)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize('name', FOREIGN)
def test_any_backbone_and_head_trains(name):
    model = build(model_config(**copy.deepcopy(FOREIGN[name])))
    before = copy.deepcopy(model)
    logs = train_ours(model, 'SGD', 2, batch_size=2)
    assert all(torch.tensor(list(log.values())).isfinite().all() for log in logs)
    assert {part(name) for name in differences(before, model)} >= {
        'backbone',
        'decode_head',
        'generator',
        'discriminator',
    }
    if 'auxiliary_head' in FOREIGN[name]:
        assert 'aux.loss_ce' in logs[0]


def test_log_holds_all_terms_and_the_total_is_their_sum():
    log = train_ours(build(model_config()), 'SGD', 2)[-1]
    assert log['loss'] == pytest.approx(log['decode.loss_ce'] + log['encoder.loss_adversarial'])
    assert log['generator.loss'] == pytest.approx(
        log['generator.loss_adversarial'] + log['generator.loss_reconstruction']
    )
    assert 0 <= log['discriminator.accuracy'] <= 1


def test_optimizer_config_names_its_errors():
    model = build(model_config())
    config = optimizer_config('SGD')
    with pytest.raises(ValueError, match='critic'):
        build_optim_wrapper(model, {**config, 'critic': config['encoder']})
    config.pop('generator')
    with pytest.raises(ValueError, match='generator'):
        build_optim_wrapper(model, config)


@pytest.mark.parametrize('iteration', [0, 49])
def test_the_share_of_clamped_pixels_is_logged(iteration):
    config = model_config()
    config['decode_head'] |= dict(loss_decode=dict(type='ConservativeLoss', clamp=1e-3), zero_init=True)
    model = build(config)
    optimizers = build_optim_wrapper(model, optimizer_config('SGD'))
    model.set_progress(TrainingProgress(iteration, 100, SEED, 0))
    log = model.train_step(make_data(0), optimizers)
    # At five equal probabilities CL(1/5) = .177 is far beyond the clamp.
    assert log['decode.clamped_share'] == 1
    assert ('decode.acc_seg' in log) == (iteration == 49)


def test_accuracy_of_a_least_squares_discriminator_has_its_boundary_at_one_half():
    model = build(model_config(loss_gan=dict(type='GANLoss', gan_type='lsgan')))
    for network in model.discriminator.networks.values():
        torch.nn.init.zeros_(network.layers[-1].weight)
        torch.nn.init.constant_(network.layers[-1].bias, 0.2)
    log = model.train_step(make_data(0), build_optim_wrapper(model, optimizer_config('SGD')))
    # .2 means 'rebuilt' for every picture, and half of the pictures are.
    assert log['discriminator.accuracy'] == 0.5
    for network in model.discriminator.networks.values():
        torch.nn.init.constant_(network.layers[-1].bias, 0.7)
    assert model.adversary.loss_gan.decision_boundary == 0.5
