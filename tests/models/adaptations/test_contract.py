"""What the segmentor promises to any adaptation."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.naive_step import slot_seed
from cda_mmseg.models.adaptations import GradientReversal, MinEnt
from cda_mmseg.models.segmentors import NonFiniteLossError, UDASegmentor
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.adaptations.contract_model import OF_THE_PAPER, Classifier, config, train
from tests.models.segmentors.tiny_model import SEED, build, make_data, model_config, optimizer_config
from tests.models.segmentors.trained import FOREIGN, differences, part

init_default_scope('mmseg')


def test_a_player_of_another_name_trains_without_touching_a_schedule():
    model = build(config(mine=dict(type='Classifier')))
    before = copy.deepcopy(model)
    logs = train(model, names=('encoder', 'classifier'))
    assert {'classifier.loss', 'classifier.loss_confusion'} <= logs[0].keys()
    assert any(name.startswith('adaptations.mine.classifier') for name in differences(before, model))


def test_two_adaptations_in_one_model_give_the_sum_of_their_terms():
    settings = model_config()
    adversary = dict(type='ImageAdversary', **{key: settings[key] for key in OF_THE_PAPER})
    model = build(config(image_adversary=adversary, mine=dict(type='Classifier')))
    log = train(model, names=('encoder', 'generator', 'discriminator', 'classifier'))[-1]
    assert log['loss'] == pytest.approx(
        log['decode.loss_ce'] + log['encoder.loss_adversarial'] + log['classifier.loss_confusion']
    )


def test_two_players_of_one_name_say_how_to_rename_one():
    with pytest.raises(
        ValueError, match=r"adaptations\.b and a both have a player 'classifier'.*player='b_classifier'"
    ):
        build(config(a=dict(type='Classifier'), b=dict(type='Classifier')))
    build(config(a=dict(type='Classifier'), b=dict(type='Classifier', player='other')))


def test_an_adaptation_set_to_none_is_off():
    model = build(config(mine=None))
    assert model.domains == ('source',) and model.player_names == ('encoder',)


@pytest.mark.parametrize(
    'weights, domains',
    [((0, 0, 0), ('source',)), ((0.1, 0, 0), ('source', 'target')), ((0, 0, 1), ('source', 'target'))],
)
def test_what_no_term_reads_is_not_loaded(weights, domains):
    keys = ('encoder_adversarial_weight', 'generator_adversarial_weight', 'reconstruction_weight')
    assert build(model_config(**dict(zip(keys, weights, strict=True)))).domains == domains


def test_what_is_not_read_is_neither_encoded_nor_scored():
    seen = []
    model = build(config(mine=dict(type='Classifier')))
    model.backbone.register_forward_hook(lambda *_: seen.append('embed'))
    model.decode_head.register_forward_pre_hook(lambda *_: seen.append('score'))
    score = model.decode_head.forward
    model.decode_head.forward = lambda maps: seen.append('score') or score(maps)
    train(model, 1, names=('encoder', 'classifier'))
    assert seen == ['embed', 'score', 'embed']
    seen.clear()
    assert 'target' not in build(config()).domains


def test_an_adaptation_takes_part_between_begin_and_end_only():
    model = build(config(mine=dict(type='Classifier', begin=0.2, end=0.55)))
    names = ('encoder', 'classifier')
    logs = [train(model, 1, first=iteration, names=names)[0] for iteration in range(10)]
    assert [iteration for iteration, log in enumerate(logs) if 'classifier.loss' in log] == [2, 3, 4, 5]
    assert model.adaptations['mine'].begun_for(TrainingProgress(2, 10)) == 0
    off = build(config())
    off.load_state_dict(model.state_dict(), strict=False)
    train(off, 1, first=6), train(model, 1, first=6, names=names)
    ours, theirs = dict(model.named_parameters()), dict(off.named_parameters())
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())


@pytest.mark.parametrize('begin, end', [(0.5, 0.5), (-0.1, 1), (0, 1.1)])
def test_times_without_meaning_are_refused(begin, end):
    with pytest.raises(ValueError, match='Classifier'):
        build(config(mine=dict(type='Classifier', begin=begin, end=end)))


@pytest.mark.parametrize('accumulation', [1, 2])
def test_separate_terms_add_their_gradients(accumulation):
    """Against a plain step that back-propagates one term after the other; each counts as part of one update."""
    ours = build(config(views=dict(type='Views', count=2, weight=0.5)))
    naive = build(config())
    logs = train(ours, 4, accumulation=accumulation)
    optimizer = torch.optim.SGD(naive.parameters(), lr=0.05, momentum=0.9)
    for iteration in range(4):
        data = naive.data_preprocessor(make_data(iteration)['source'], training=True)
        images, labels = data['inputs'], data['data_samples'][0].gt_sem_seg.data
        for name, flipped, factor in (('view0', True, 0.5), ('view1', True, 0.5), ('source', False, 1.0)):
            torch.manual_seed(slot_seed(SEED, iteration, 0, f'encoder/{name}'))
            image, label = (images.flip(-1), labels.flip(-1)) if flipped else (images, labels)
            logits = naive.decode_head.forward(naive.backbone(image))
            logits = F.interpolate(logits, size=label.shape[1:], mode='bilinear', align_corners=False)
            losses = F.cross_entropy(logits, label, ignore_index=255, reduction='none') * factor
            (losses.sum() / (label != 255).sum().item() / accumulation).backward()
        if (iteration + 1) % accumulation == 0:
            optimizer.step()
            optimizer.zero_grad()
    assert differences(ours, naive) == {}
    parts = ('decode.loss_ce', 'view0.decode.loss_ce', 'view1.decode.loss_ce')
    assert logs[0]['loss'] == pytest.approx(sum(logs[0][name] for name in parts))


@pytest.mark.parametrize(
    'loss', ['CrossEntropyLoss', 'SoftmaxCrossEntropyLoss', 'ConservativeLoss', 'SoftmaxFocalLoss']
)
def test_weights_of_pixels_act_alike_in_all_losses(loss):
    """They multiply each pixel's loss and do not enter the divisor, the number of labelled pixels."""
    model = build(config())
    options = dict(avg_non_ignore=True)
    model.decode_head.loss_decode = MODELS.build(dict(type=loss, **options))
    single = MODELS.build(dict(type=loss, reduction='none', **options))
    labels = torch.randint(0, 5, (2, 32, 48))
    labels[:, :4] = 255
    weight = torch.rand(2, 32, 48)
    scores = torch.randn(2, 5, 32, 48)
    (value,) = (v for k, v in model.segmentation_losses([scores], labels, weight=weight).items() if 'loss' in k)
    expected = (single(scores, labels, ignore_index=255) * weight).sum() / (labels != 255).sum()
    torch.testing.assert_close(value, expected)


def test_a_head_that_calls_mmsegs_loss_again_weighs_pixels():
    """DAHead has three outputs, each of which goes through BaseDecodeHead's loss."""
    head = FOREIGN['own-loss-head']['decode_head'] | dict(
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)
    )
    model = build(model_config(**{**copy.deepcopy(FOREIGN['own-loss-head']), 'decode_head': head}))
    labels = torch.randint(0, 5, (1, 32, 48))
    scores = tuple(torch.randn(1, 5, 4, 6) for _ in range(3))
    plain, half = (
        model.segmentation_losses([scores], labels, weight=weight) for weight in (None, torch.full((1, 32, 48), 0.5))
    )
    assert {name for name in plain if 'loss' in name} == {name for name in half if 'loss' in name}
    for name, value in half.items():
        if 'loss' in name:
            torch.testing.assert_close(value, plain[name] / 2)
    assert model.decode_head.sampler is None


class HeadOfItsOwn(FCNHead):
    """A head whose loss has no place for weights."""

    def loss_by_feat(self, seg_logits, batch_data_samples):
        return dict(loss_own=seg_logits.square().mean())


def test_a_head_that_cannot_weigh_pixels_is_named():
    head = dict(type=HeadOfItsOwn, in_channels=16, in_index=2, channels=4, num_classes=5)
    model = build({**config(), 'decode_head': head})
    train(model, 1)
    scores, labels = [torch.randn(1, 5, 4, 6)], torch.zeros(1, 32, 48, dtype=torch.long)
    with pytest.raises(TypeError, match='HeadOfItsOwn has a loss of its own, which cannot weigh pixels'):
        model.segmentation_losses(scores, labels, weight=torch.ones(1, 32, 48))
    assert model.decode_head.sampler is None


class Poison(nn.Module):
    """A layer whose gradient is not a number while its output is sound."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float('nan')

    def forward(self, value):
        return self.Function.apply(value)


def poisoned() -> UDASegmentor:
    model = build(config())
    model.backbone.features.append(Poison())
    forward = model.backbone.forward
    model.backbone.forward = lambda images: [Poison()(level) for level in forward(images)]
    return model


def test_a_gradient_that_is_not_finite_stops_before_the_update():
    model = poisoned()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        NonFiniteLossError, match=r'A gradient of the encoder.*the gradient of backbone\..*source_0\.png'
    ):
        train(model, 1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class CountReads(TorchDispatchMode):
    """Count how often a number is taken from the device to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        self.reads += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(kwargs or {}))


def without_checks_at_once(monkeypatch) -> None:
    """Do on a CPU what a step does on a GPU."""
    make_step = UDASegmentor._make_step

    def make(*arguments):
        step = make_step(*arguments)
        step.checks_at_once = False
        return step

    monkeypatch.setattr(UDASegmentor, '_make_step', make)


def test_on_a_gpu_nothing_is_read_before_the_end_of_a_step(monkeypatch):
    """tolist() of one tensor reads it at once, without item(); losses of labels on a GPU are not looked at either."""
    without_checks_at_once(monkeypatch)
    monkeypatch.setattr('cda_mmseg.models.losses.pixel_loss.PixelLoss._check_classes', lambda *_: None)
    settings = model_config(decode_head={**model_config()['decode_head'], 'loss_decode': dict(type='ConservativeLoss')})
    model = build(settings)
    # SGD counts its steps on the host; Adam's own count is a tensor on the CPU.
    optimizers = build_optim_wrapper(model, optimizer_config('SGD'))
    model.train_step(make_data(0), optimizers)
    with CountReads() as counter:
        model.train_step(make_data(1), optimizers)
    assert counter.reads == 0
    with CountReads() as counter:
        torch.ones(1).item()
    assert counter.reads == 1


@pytest.mark.parametrize('make, message', [(poisoned, 'A gradient of the encoder'), (None, r'decode\.loss_ce = nan')])
def test_on_a_gpu_the_end_of_a_step_says_what_was_not_finite(make, message, monkeypatch):
    without_checks_at_once(monkeypatch)
    model = make() if make else build(config())
    if not make:
        with torch.no_grad():
            model.decode_head.skip_scores[0].bias.fill_(float('nan'))
    with pytest.raises(NonFiniteLossError, match=message):
        train(model, 1)


def test_padding_is_cut_off_before_the_network_sees_it(caplog):
    """The weights are those of the same images without padding; one warning per domain."""
    model, plain = build(config(mine=dict(type='Classifier'))), build(config(mine=dict(type='Classifier')))
    plain.data_preprocessor.size, plain.data_preprocessor.size_divisor = None, 1
    model.data_preprocessor.size = (64, 64)
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    for one in (model, plain):
        train(one, 2, names=('encoder', 'classifier'))
    assert set(seen) == {(1, 3, 32, 48)}
    assert differences(model, plain) == {}


def test_an_old_config_says_where_its_keys_went():
    old = model_config()
    with pytest.raises(TypeError, match=r"model has \['discriminator', .*belong to an adaptation"):
        MODELS.build({**copy.deepcopy(old), 'type': 'UDASegmentor'})


def test_names_of_logged_values_are_not_taken_twice():
    @MODELS.register_module(force=True)
    class SameName(Classifier):
        def before_encoder(self, encoded, step):
            return {f'{self.players[0]}.loss_confusion': torch.zeros(())}

    model = build(config(mine=dict(type='Classifier'), other=dict(type='SameName', player='second')))
    model.adaptations['other'].before_encoder = lambda *_: {'classifier.loss': torch.zeros(())}
    with pytest.raises(ValueError, match=r"adaptation other logs \['classifier\.loss'\]"):
        train(model, 1, names=('encoder', 'classifier', 'second'))


def test_checkpoint_keys_of_the_network_are_mmsegs():
    model = build(model_config())
    parts = {part(name) for name in model.state_dict()}
    assert parts == {'backbone', 'decode_head', 'generator', 'discriminator'}
    assert all(name.startswith(('backbone.', 'decode_head.', 'adaptations.')) for name in model.state_dict())


CELLS = dict(type='FeatureDiscriminator', channels=(8, 4))
BY_DOMAIN = dict(
    minent=dict(type='MinEnt', weight=0.1),
    reversal=dict(type='GradientReversal', discriminator=CELLS, loss_gan=dict(type='GANLoss', gan_type='vanilla')),
)


def passes_of_a_step(model) -> list[str]:
    """Tell in which order E's images go forward, and their gradients back."""
    seen = []

    def watch(module, inputs, outputs):
        number = sum(name.startswith('forward') for name in seen)
        seen.append(f'forward {number}')
        outputs[-1].register_hook(lambda gradient: seen.append(f'backward {number}'))

    handle = model.backbone.register_forward_hook(watch)
    train(model, 1, names=('encoder', 'feature_discriminator'))
    handle.remove()
    return seen


def test_domains_whose_terms_stand_alone_go_one_after_the_other():
    """One graph at a time, and the very weights and log of all at once."""
    apart, joint = (build(config(**BY_DOMAIN)) for _ in range(2))
    joint.adaptations['minent'].terms_of = None
    assert passes_of_a_step(apart) == ['forward 0', 'backward 0', 'forward 1', 'backward 1']
    assert passes_of_a_step(joint)[:2] == ['forward 0', 'forward 1']
    names = ('encoder', 'feature_discriminator')
    logs = [train(model, 3, first=24, length=100, names=names) for model in (apart, joint)]
    assert differences(apart, joint) == {}
    assert logs[0] == [pytest.approx(log, rel=1e-6) for log in logs[1]] and 'target.confidence' in logs[0][0]


def test_a_measurement_of_both_graphs_and_a_joint_batch_keep_them_together():
    measured = build(config(**BY_DOMAIN) | dict(gradient_ratio_interval=1))
    assert passes_of_a_step(measured)[:2] == ['forward 0', 'forward 1']
    batched = build(config(**BY_DOMAIN) | dict(execution=dict(batch_domains=True)))
    assert passes_of_a_step(batched) == ['forward 0', 'backward 0']


@MODELS.register_module()
class ClassifierOfOneDomain(Classifier):
    """A player that learns before E, of which only the target asks anything."""

    reads = dict.fromkeys(('source', 'target'), 'features')
    terms_of = ('target',)


def test_a_player_that_learns_before_e_has_learnt_when_the_terms_ask_it():
    """However the domains go through E: its weights and E's are those of both graphs at once."""
    models = [build(config(mine=dict(type='ClassifierOfOneDomain'))) for _ in range(2)]
    models[1].adaptations['mine'].terms_of = None
    logs = [train(model, names=('encoder', 'classifier')) for model in models]
    assert differences(*models) == {} and logs[0] == logs[1]


def test_only_the_maps_that_are_read_are_kept(monkeypatch):
    """One graph at a time saves little if the maps of the backbone outlive it: scores and features asked for do."""
    seen = []
    for kind in (MinEnt, GradientReversal):
        monkeypatch.setattr(kind, 'after_encoder', lambda self, encoded, step: seen.append(encoded) or {})
    model = build(config(**BY_DOMAIN))
    train(model, 1, names=('encoder', 'feature_discriminator'))
    assert sorted(seen[0].features) == sorted(seen[0].scores) == ['source', 'target']

    seen.clear()
    model = build(config(minent=BY_DOMAIN['minent']))
    train(model, 1, names=('encoder',))
    assert not seen[0].features and sorted(seen[0].scores) == ['source', 'target']
