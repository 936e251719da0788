"""Backbones of transformers, against the library's own models; what needs it is skipped where it is not installed."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from cda_mmseg.engine import read_config
from cda_mmseg.models.backbones import TransformersBackbone
from cda_mmseg.utils.loading.errors import CheckpointError
from tests.models.segmentors.tiny_model import build, make_data, model_config, optimizer_config
from tests.tool_processes import ROOT

init_default_scope('mmseg')
needs_transformers = pytest.mark.skipif(find_spec('transformers') is None, reason='needs transformers')

DINOV2 = dict(model_type='dinov2', hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=28)
TINY = dict(
    convnext=dict(model_type='convnext', depths=(1, 1, 1, 1), hidden_sizes=(8, 16, 24, 32), out_indices=(1, 2, 4)),
    dinov2=dict(**DINOV2, out_indices=(1, 2)),
    dinov3_vit=dict(
        model_type='dinov3_vit',
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        out_indices=(1, 2),
    ),
    swin=dict(
        model_type='swin', embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), window_size=2, out_indices=(1, 2)
    ),
)


def weights(checkpoint: Path | str) -> dict:
    return dict(type='Pretrained', checkpoint=str(checkpoint))


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves a classifier of transformers; it gives the folder and the library's own backbone."""
    import transformers

    def save(config: dict):
        settings = transformers.AutoConfig.for_model(
            **{key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
        )
        folder = tmp_path / config['model_type']
        model = transformers.AutoModelForImageClassification.from_config(settings)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        model.save_pretrained(folder)
        return folder, type(transformers.AutoBackbone.from_config(settings)).from_pretrained(folder)

    return save


def test_the_message_where_transformers_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r"needs transformers: pip install 'cda_mmseg\[backbones\]'"):
        MODELS.build(dict(type='TransformersBackbone', config=dict(model_type='dinov2')))


@needs_transformers
@pytest.mark.parametrize('name', ['convnext', 'dinov2', 'swin'])
def test_a_folder_gives_the_maps_of_the_librarys_own_backbone(name, saved, capfd):
    folder, reference = saved(TINY[name])
    backbone = TransformersBackbone(ConfigDict(TINY[name]), init_cfg=weights(folder))
    backbone.init_weights()
    images = torch.randn(2, 3, 56, 84)
    with torch.no_grad():
        ours, theirs = backbone.eval()(images), reference.eval()(images).feature_maps
    assert len(ours) == len(TINY[name]['out_indices'])
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert 'UNEXPECTED' not in ''.join(capfd.readouterr())  # the library's table


@needs_transformers
def test_a_name_on_the_hub(saved, tmp_path):
    """Resolved by the library in its own cache, as after a download."""
    folder, _ = saved(TINY['dinov2'])
    cache = tmp_path / 'cache' / 'models--somebody--tiny'
    shutil.copytree(folder, cache / 'snapshots' / ('a' * 40))
    (cache / 'refs').mkdir()
    (cache / 'refs' / 'main').write_text('a' * 40)
    code = (
        'import cda_mmseg\nfrom cda_mmseg.models.backbones import TransformersBackbone\n'
        f'one, other = (TransformersBackbone({TINY["dinov2"]}, init_cfg=dict(type="Pretrained", checkpoint=checkpoint))'
        f' for checkpoint in ("somebody/tiny", {str(folder)!r}))\n'
        'one.init_weights(); other.init_weights()\n'
        'values = zip(one.state_dict().values(), other.state_dict().values(), strict=True)\n'
        'print("alike", all(bool((a == b).all()) for a, b in values))\n'
    )
    offline = {**os.environ, 'HF_HUB_OFFLINE': '1', 'HF_HUB_CACHE': str(tmp_path / 'cache')}
    done = subprocess.run([sys.executable, '-c', code], env=offline, capture_output=True, text=True, check=True)
    assert 'alike True' in done.stdout


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@needs_transformers
@pytest.mark.parametrize('is_file', [False, True], ids=['folder', 'file'])
def test_only_safetensors_are_read(is_file, saved, tmp_path):
    folder, _ = saved(TINY['dinov2'])
    (folder / 'model.safetensors').unlink()
    torch.save(Hostile(tmp_path / 'has run'), folder / 'pytorch_model.bin')
    checkpoint = folder / 'pytorch_model.bin' if is_file else folder
    backbone = TransformersBackbone(TINY['dinov2'], init_cfg=weights(checkpoint))
    with pytest.raises(CheckpointError, match=r'safetensors.*model\.backbone\.init_cfg\.checkpoint'):
        backbone.init_weights()
    assert not (tmp_path / 'has run').exists()


@needs_transformers
@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(hidden_size=32), r'wrong shape: .* and \d+ more. In their config.json: hidden_size=16 \(here 32\)'),
        (dict(num_hidden_layers=2), r'not in the network: .*layer\.2\..*num_hidden_layers=3 \(here 2\)'),
        (dict(num_hidden_layers=4), r'missing: .*layer\.3\.'),
    ],
)
def test_weights_of_another_size_are_named(changes, message, saved):
    folder, _ = saved(TINY['dinov2'])
    backbone = TransformersBackbone({**TINY['dinov2'], **changes}, init_cfg=weights(folder))
    with pytest.raises(CheckpointError, match=message):
        backbone.init_weights()


@needs_transformers
@pytest.mark.parametrize('name', TINY)
def test_what_no_map_depends_on_is_frozen(name):
    backbone = TransformersBackbone(TINY[name])
    frozen = {key for key, value in backbone.named_parameters() if not value.requires_grad}
    backbone.requires_grad_(True)
    sum(one.sum() for one in backbone(torch.randn(1, 3, 56, 56))).backward()
    assert frozen == {key for key, value in backbone.named_parameters() if value.grad is None}
    assert ('network.embeddings.mask_token' in frozen) == name.startswith('dino')


@needs_transformers
@pytest.mark.parametrize('name', TINY)
def test_the_papers_method_trains_it(name):
    """Both domains as one batch; every parameter that is not frozen gets a gradient, or the step would say so."""
    config = model_config(execution=dict(batch_domains=True))
    config['backbone'] = dict(type='TransformersBackbone', config=TINY[name])
    channels = dict(convnext=[8, 16, 32], swin=[8, 16]).get(name, [16, 16])
    config['decode_head'] = dict(
        type='SegformerHead',
        in_channels=channels,
        in_index=list(range(len(channels))),
        channels=8,
        num_classes=5,
        norm_cfg=dict(type='GN', num_groups=2),
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    )
    model = build(config)
    before = {key: value.clone() for key, value in model.backbone.named_parameters()}
    optimizers = build_optim_wrapper(model, optimizer_config('Adam'))
    for iteration in range(2):
        model.train_step(make_data(iteration), optimizers)
    for key, value in model.backbone.named_parameters():
        assert value.numel() == 0 or torch.equal(before[key], value) != value.requires_grad, key


@needs_transformers
def test_initial_weights_are_a_function_of_the_seed():
    """As a resumed run wants them again for FeatureDistance, whatever the weights have become."""
    first, second = TransformersBackbone(TINY['dinov2']), TransformersBackbone(TINY['dinov2'])
    for backbone in (first, second):
        torch.manual_seed(3)
        backbone.init_weights()
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


@needs_transformers
def test_checkpointed_layers_give_the_same_gradients():
    plain, checkpointed = (TransformersBackbone(TINY['dinov2'], with_cp=with_cp) for with_cp in (False, True))
    checkpointed.load_state_dict(plain.state_dict())
    for backbone in (plain, checkpointed):
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(1, 3, 28, 28, generator=generator)
        sum(one.square().mean() for one in backbone.train()(images)).backward()
    for one, other in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert one.grad is other.grad is None or torch.equal(one.grad, other.grad)
    assert checkpointed.network.is_gradient_checkpointing


@needs_transformers
def test_the_shipped_leaf_fits_the_weights_that_it_names():
    """facebook/dinov2-small was made at 518×518: 37×37 patches and the class token, each 384 values."""
    model = read_config(ROOT / 'configs' / 'self_training_gta2city_upernet_dinov2_s.py').model.backbone
    assert model.init_cfg.checkpoint == 'facebook/dinov2-small'
    backbone = MODELS.build(dict(model, init_cfg=None))
    assert backbone.network.embeddings.position_embeddings.shape == (1, 37 * 37 + 1, 384)
    assert f'image_size={model.config.image_size},' in (ROOT / 'docs' / 'backbones.md').read_text()


@needs_transformers
def test_maps_cover_the_image_whatever_its_size():
    """A patch of 14 does not divide 64: what the last patch would leave over is seen too."""
    backbone = TransformersBackbone(TINY['dinov2']).eval()
    image = torch.zeros(1, 3, 64, 64)
    changed = image.clone()
    changed[..., -2:] = 100.0
    with torch.no_grad():
        one, other = backbone(image)[0], backbone(changed)[0]
    assert one.shape[2:] == (5, 5) and not torch.equal(one, other)


@needs_transformers
@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(config=dict(model_type='bert')), r"model_type='bert' is no backbone of transformers .* dinov2,"),
        (dict(config=dict(hidden_size=3)), r'model_type=None is no backbone'),
        (dict(config=dict(model_type='dinov2', hiden_size=3)), r'config has hiden_size, .* hidden_size,'),
        (dict(config=TINY['dinov2'], init_cfg=dict(type='Xavier')), r"can only be of type='Pretrained'"),
        (dict(config=dict(model_type='dinov3_convnext'), with_cp=True), r'has no with_cp'),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TransformersBackbone(**settings)
