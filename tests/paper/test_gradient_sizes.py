"""Measured gradient sizes, against plain PyTorch and against the runs that they are for."""

import pytest
import torch
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS
from torch.nn import functional as F

from cda_mmseg.engine.sampling import PositionedDataset
from cda_mmseg.models.adaptations import find_adversary
from cda_mmseg.models.denormalize import denormalize
from cda_mmseg.paper.gradient_sizes import GradientSizes, measure_gradient_sizes
from cda_mmseg.utils.randomness import stable_hash

CONSERVATIVE = dict(type='ConservativeLoss', loss_weight=5.0)


@pytest.fixture
def checkpoint(smoke_config, tmp_path):
    """A GAN + CE model without dropout and noise, saved as a run of two iterations would."""
    config = smoke_config('gan_ce_gta2city')
    config.model.backbone.dropout = 0.0
    config.model.adaptations.image_adversary.generator.noise_std = 0.0
    config.model.decode_head.zero_init = False
    torch.manual_seed(3)
    model = MODELS.build(config.model)
    model.init_weights()
    path = tmp_path / 'iter_2.pth'
    meta = dict(iter=2, seed=5, samples_consumed=dict(source=2, target=2))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return config, path, model


def norm_of(loss, model):
    """Norm of a loss's gradient on backbone and head."""
    parameters = [*model.backbone.parameters(), *model.decode_head.parameters()]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None) ** 0.5


def test_sizes_are_those_of_plain_pytorch(checkpoint):
    config, path, model = checkpoint
    sizes = measure_gradient_sizes(config, path, dict(cl=CONSERVATIVE), batches=1)

    batch = {}
    for domain, loader in (('source', 'train_dataloader'), ('target', 'target_dataloader')):
        dataset = PositionedDataset(DATASETS.build(config[loader].dataset), stable_hash(5, domain))
        sample = dataset[2]
        data = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
        batch[domain] = model.data_preprocessor(data, training=True)
    features = {domain: model.backbone(part['inputs']) for domain, part in batch.items()}
    label = batch['source']['data_samples'][0].gt_sem_seg.data
    scores = F.interpolate(model.decode_head(features['source']), label.shape[1:], mode='bilinear')
    log_probability = scores.log_softmax(1)
    valid = label != 255
    chosen = log_probability.gather(1, label.masked_fill(~valid, 0)[None])[0][valid]
    assert sizes.cross_entropy == pytest.approx(norm_of(-chosen.mean(), model), rel=1e-4)
    conservative = 5 * ((1 + chosen) ** 2 * torch.log(-chosen)).mean()
    assert sizes.losses['cl'] == pytest.approx(norm_of(conservative, model), rel=1e-4)

    generator = find_adversary(model).generator.networks['both']
    fool = 0
    for domain, other in (('source', 'target'), ('target', 'source')):
        size = denormalize(batch[domain]['inputs'], model.data_preprocessor).shape[2:]
        fake = generator(features[domain], tuple(size))
        fool = fool + F.softplus(-find_adversary(model).discriminator.networks[other](fake)).mean()
    assert sizes.adversarial == pytest.approx(norm_of(fool, model), rel=1e-3)
    assert (sizes.iteration, sizes.adversarial_weight) == (
        2,
        config.model.adaptations.image_adversary.encoder_adversarial_weight,
    )


def test_the_model_is_measured_without_being_changed(checkpoint):
    config, path, model = checkpoint
    before = torch.load(path)['state_dict']
    several = measure_gradient_sizes(
        config, path, dict(one=CONSERVATIVE, four={**CONSERVATIVE, 'loss_weight': 20.0}), 2
    )
    again = measure_gradient_sizes(config, path, dict(one=CONSERVATIVE), 2)
    assert several.losses['four'] == pytest.approx(4 * several.losses['one'], rel=1e-5)
    # What is measured later sees the same weights.
    assert again.losses['one'] == several.losses['one']
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_equal_ratio_is_the_ratio_of_cross_entropy(tmp_path):
    sizes = GradientSizes(300, 8, 0.001, 2.0, 0.5, {'gan_cl': 45.0})
    assert sizes.equal_ratio_factor('gan_cl') == 90
    assert sizes.ratio() == pytest.approx(0.004)
    assert sizes.ratio('gan_cl') == pytest.approx(0.004 / 90)
    assert sizes.ratio('gan_cl', 90) == pytest.approx(sizes.ratio())
    sizes.save(tmp_path / 'sizes.json')
    assert GradientSizes.load(tmp_path / 'sizes.json') == sizes


def test_models_without_a_gan_are_refused(smoke_config, tmp_path):
    with pytest.raises(TypeError, match='UDASegmentor has no adversarial term'):
        measure_gradient_sizes(smoke_config('source_only_gta2city'), tmp_path / 'none.pth', {})


def test_weights_without_a_run_are_refused(checkpoint, tmp_path):
    config, path, _ = checkpoint
    torch.save(dict(state_dict=torch.load(path)['state_dict']), tmp_path / 'bare.pth')
    with pytest.raises(ValueError, match=r'bare\.pth does not say how many iterations'):
        measure_gradient_sizes(config, tmp_path / 'bare.pth', {})


def test_the_warm_start_of_an_equal_ratio_run_is_that_of_gan_ce(smoke_config, tmp_path):
    """Adam cancels the common factor of adversarial weight and cross entropy."""

    def train(name, factor):
        config = smoke_config('gan_ce_gta2city')
        config.work_dir = str(tmp_path / name)
        config.model.decode_head.zero_init = False
        # So large that both gradients on this tiny encoder are of one order.
        config.model.adaptations.image_adversary.encoder_adversarial_weight = factor * 2e4
        config.model.decode_head.loss_decode.loss_weight = factor
        config.train_cfg.update(max_iters=2, val_interval=100)
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
        config.default_hooks.pop('checkpoint'), config.pop('custom_hooks')
        runner = Runner.from_cfg(config)
        runner.model.init_weights()
        start = {key: value.clone() for key, value in runner.model.state_dict().items()}
        trained = runner.train().state_dict()
        players = ('backbone.', 'decode_head.')
        return {key: trained[key] - start[key] for key in start if key.startswith(players)}

    plain, scaled = train('plain', 1.0), train('scaled', 90.0)
    moved = sum(float(step.abs().sum()) for step in plain.values())
    difference = sum(float((plain[key] - scaled[key]).abs().sum()) for key in plain)
    assert difference < 1e-3 * moved
