"""Released checkpoints, under the names that their authors gave, with random weights."""

import math
import os
import re
import runpy
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn
from torch.nn import functional

from cda_mmseg.engine import read_config
from cda_mmseg.engine.checkpointing.fitting import init_trained_model
from cda_mmseg.engine.checkpointing.released_weights import NETWORKS, convert_file, convert_released
from cda_mmseg.engine.runner import UDARunner
from cda_mmseg.utils.loading import CheckpointError, UntrustedCheckpointError, load_checkpoint_file
from tests.conftest import REPOSITORY

CONFIG = REPOSITORY / 'configs' / 'daformer_gta2city_mit_b5.py'
# As printed by the authors' code: names of one block of MiT-B5 and of the head.
PUBLISHED = [
    *(f'patch_embed3.{name}' for name in ('proj.weight', 'proj.bias', 'norm.weight', 'norm.bias')),
    *('block3.39.norm1.weight', 'block3.39.norm2.bias', 'block3.39.attn.q.weight', 'block3.39.attn.kv.bias'),
    *('block3.39.attn.proj.weight', 'block3.39.attn.sr.weight', 'block3.39.attn.norm.weight'),
    *('block3.39.mlp.fc1.weight', 'block3.39.mlp.dwconv.dwconv.weight', 'block3.39.mlp.fc2.bias', 'norm3.weight'),
]
PUBLISHED_HEAD = ['conv_seg.weight', 'embed_layers.0.proj.weight', 'fuse_layer.bottleneck.bn.running_var']


class Attention(nn.Module):
    def __init__(self, dim, heads, ratio, eps):
        super().__init__()
        self.heads, self.ratio = heads, ratio
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        if ratio > 1:
            self.sr, self.norm = nn.Conv2d(dim, dim, ratio, ratio), nn.LayerNorm(dim, eps)

    def forward(self, tokens, size):
        n, length, dim = tokens.shape
        kept = tokens
        if self.ratio > 1:
            kept = self.norm(self.sr(tokens.mT.reshape(n, dim, *size)).flatten(2).mT)
        queries = self.q(tokens).reshape(n, length, self.heads, -1).transpose(1, 2)
        keys, values = self.kv(kept).reshape(n, kept.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (queries @ keys.mT / math.sqrt(dim // self.heads)).softmax(-1)
        return self.proj((weights @ values).transpose(1, 2).reshape(n, length, dim))


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dwconv = nn.ModuleDict(dict(dwconv=nn.Conv2d(4 * dim, 4 * dim, 3, padding=1, groups=4 * dim)))

    def forward(self, tokens, size):
        hidden = self.fc1(tokens).mT.unflatten(2, size)
        return self.fc2(functional.gelu(self.dwconv.dwconv(hidden).flatten(2).mT))


class AuthorsMiT(nn.Module):
    """SegFormer's encoder as its authors lay it out, in plain PyTorch; ``eps`` is that of the unnamed norms."""

    def __init__(self, width, heads, depths, eps=1e-5):
        super().__init__()
        channels = 3
        for stage, (head, depth) in enumerate(zip(heads, depths, strict=True), start=1):
            dim, kernel, stride, ratio = width * head, (3 if stage > 1 else 7), (2 if stage > 1 else 4), 16 >> stage
            patches = dict(proj=nn.Conv2d(channels, dim, kernel, stride, kernel // 2), norm=nn.LayerNorm(dim, eps))
            block = [
                nn.ModuleDict(
                    dict(
                        norm1=nn.LayerNorm(dim, 1e-6),
                        attn=Attention(dim, head, ratio, eps),
                        norm2=nn.LayerNorm(dim, 1e-6),
                        mlp=Mlp(dim),
                    )
                )
                for _ in range(depth)
            ]
            self.add_module(f'patch_embed{stage}', nn.ModuleDict(patches))
            self.add_module(f'block{stage}', nn.ModuleList(block))
            self.add_module(f'norm{stage}', nn.LayerNorm(dim, 1e-6))
            channels = dim

    def forward(self, maps):
        outputs = []
        for stage in range(1, 5):
            patches = self.get_submodule(f'patch_embed{stage}')
            maps = patches['proj'](maps)
            size, tokens = maps.shape[2:], patches['norm'](maps.flatten(2).mT)
            for block in self.get_submodule(f'block{stage}'):
                tokens = tokens + block['attn'](block['norm1'](tokens), size)
                tokens = tokens + block['mlp'](block['norm2'](tokens), size)
            maps = self.get_submodule(f'norm{stage}')(tokens).mT.unflatten(2, size)
            outputs.append(maps)
        return outputs


def our_model(config: Config) -> nn.Module:
    config.model.backbone.init_cfg = None
    config.model.adaptations = {}
    init_default_scope('mmseg')
    return MODELS.build(config.model).eval()


def released(student, head: dict, **others) -> dict:
    """A checkpoint as DAFormer's training writes it."""
    weights = {f'backbone.{name}': value for name, value in student.state_dict().items()}
    weights |= {f'decode_head.{name}': value for name, value in head.items()}
    state = {f'model.{name}': value for name, value in weights.items()}
    state |= {f'ema_model.{name}': value + 1 if value.is_floating_point() else value for name, value in weights.items()}
    state |= {f'imnet_model.{name}': value for name, value in weights.items()} | others
    meta = dict(CLASSES=('road', 'sidewalk'), PALETTE=[[128, 64, 128], [244, 35, 232]], iter=40000)
    return dict(meta=meta, state_dict=state, optimizer=dict(state={}, param_groups=[]))


@pytest.fixture
def small(smoke_config):
    """Our network and the authors' of the same size, and what was released of them."""
    model = our_model(smoke_config('daformer_gta2city_mit_b5'))
    authors = AuthorsMiT(8, (1, 2, 2, 2), (1, 1, 1, 1))
    for value in [*authors.parameters(), *model.decode_head.buffers()]:
        if value.is_floating_point():
            value.data.uniform_(0.1, 0.5)
    return model, authors, released(authors, model.decode_head.state_dict())


def test_the_published_names_become_those_of_our_config():
    with torch.device('meta'):
        authors = AuthorsMiT(64, (1, 2, 5, 8), (3, 6, 40, 3))
    model = our_model(read_config(CONFIG))
    head = {name: value.to('meta') for name, value in model.decode_head.state_dict().items()}
    checkpoint = released(authors, head)
    names = checkpoint['state_dict'].keys()
    assert names >= {f'{network}backbone.{name}' for name in PUBLISHED for network in NETWORKS.values()}
    assert names >= {f'model.decode_head.{name}' for name in PUBLISHED_HEAD}
    for network in NETWORKS:
        weights, left_out = convert_released(checkpoint, 'latest.pth', 'daformer', network)
        ours = {name: value.shape for name, value in model.state_dict().items()}
        assert {name: value.shape for name, value in weights.items()} == ours
        assert sum(left_out.values()) == 2 * len(names) / 3


@pytest.mark.parametrize('stage', range(4))
def test_an_attention_block_computes_the_same(small, stage):
    model, authors, checkpoint = small
    weights, _ = convert_released(checkpoint, 'latest.pth', 'daformer')
    model.load_state_dict(weights)
    block, theirs = model.backbone.double().layers[stage][1][0], authors.double().get_submodule(f'block{stage + 1}')[0]
    size, tokens = (16, 8), torch.randn(2, 128, 8 * (1, 2, 2, 2)[stage], dtype=torch.float64)
    if stage < 3:
        theirs['attn'].norm.eps = 1e-6  # mmseg's
    expected = tokens + theirs['attn'](theirs['norm1'](tokens), size)
    expected = expected + theirs['mlp'](theirs['norm2'](expected), size)
    torch.testing.assert_close(block(tokens, size), expected, rtol=1e-10, atol=1e-10)


def test_the_encoder_computes_the_same(small):
    model, authors, checkpoint = small
    model.load_state_dict(convert_released(checkpoint, 'latest.pth', 'daformer')[0])
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    for ours, theirs in zip(model.backbone.double()(images), authors.double()(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    same_eps = AuthorsMiT(8, (1, 2, 2, 2), (1, 1, 1, 1), eps=1e-6).double()
    same_eps.load_state_dict(authors.state_dict())
    for ours, theirs in zip(model.backbone(images), same_eps(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_hrdas_attention_between_scales_is_left_out(small):
    model, _, checkpoint = small
    state = {
        name.replace('decode_head.', 'decode_head.head.'): value for name, value in checkpoint['state_dict'].items()
    }
    state |= {'model.decode_head.scale_attention.conv_seg.weight': torch.zeros(19, 16, 1, 1)}
    weights, left_out = convert_released(dict(state_dict=state), 'latest.pth', 'mic')
    assert weights.keys() == model.state_dict().keys()
    assert left_out['model.decode_head.scale_attention.'] == 1
    plain, _ = convert_released(checkpoint, 'latest.pth', 'mic')
    assert plain.keys() == weights.keys()
    with pytest.raises(CheckpointError, match='convert it as mic'):
        convert_released(dict(state_dict=state), 'latest.pth', 'daformer')


def test_a_run_begins_from_a_converted_teacher(small, smoke_config, tmp_path, monkeypatch, capsys):
    _, _, checkpoint = small
    torch.save(checkpoint, tmp_path / 'latest.pth')
    arguments = ['daformer', str(tmp_path / 'latest.pth'), '--out', str(tmp_path / 'ours.pth'), '--network', 'teacher']
    tool = REPOSITORY / 'tools' / 'convert_checkpoint.py'
    monkeypatch.setattr(sys, 'argv', [str(tool), *arguments])
    runpy.run_path(str(tool), run_name='__main__')
    assert capsys.readouterr().out.count('left out: ') == 2
    written = load_checkpoint_file(str(tmp_path / 'ours.pth'))
    assert written['meta']['dataset_meta']['classes'] == ('road', 'sidewalk')
    config = smoke_config('daformer_gta2city_mit_b5')
    config.load_from, config.work_dir, config.train_cfg.max_iters = str(tmp_path / 'ours.pth'), str(tmp_path), 1
    config.optim_wrapper.encoder.optimizer = dict(type='SGD', lr=0.0)
    del config.optim_wrapper.encoder.paramwise_cfg
    runner = UDARunner.from_cfg(config)
    runner.train()
    theirs = checkpoint['state_dict']['ema_model.backbone.block2.0.attn.q.weight']
    assert torch.equal(runner.model.backbone.layers[1][1][0].attn.attn.in_proj_weight[:16], theirs)
    with pytest.raises(FileExistsError, match='is kept'):
        convert_file(str(tmp_path / 'latest.pth'), str(tmp_path / 'ours.pth'), 'daformer')


def test_the_config_in_the_docs_scores_the_target_alone(small, smoke_worlds, tmp_path, monkeypatch):
    text = (REPOSITORY / 'docs' / 'methods.md').read_text()
    check = re.search(r'Save as `check.py`:\n\n```python\n(.*?)```', text, re.S)[1]
    (tmp_path / 'check.py').write_text(check.replace("'configs/", f"'{REPOSITORY}/configs/smoke/"))
    torch.save(small[2], tmp_path / 'latest.pth')
    convert_file(str(tmp_path / 'latest.pth'), str(tmp_path / 'ours.pth'), 'daformer')
    config = read_config(tmp_path / 'check.py')
    config.load_from, config.work_dir = str(tmp_path / 'ours.pth'), str(tmp_path)
    monkeypatch.chdir(smoke_worlds)
    scores = UDARunner.from_cfg(config).test()
    assert 'target/mIoU' in scores and not any(name.startswith('source') for name in scores)


def test_a_network_of_mmsegs_zoo_scores_the_same(tmp_path):
    init_default_scope('mmseg')
    config = Config(
        dict(
            model=dict(
                type='EncoderDecoder',
                data_preprocessor=dict(type='SegDataPreProcessor'),
                backbone=dict(type='ResNetV1c', depth=18, base_channels=4, stem_channels=4),
                decode_head=dict(type='FCNHead', in_channels=32, channels=8, num_classes=2, num_convs=1),
                auxiliary_head=dict(type='FCNHead', in_channels=16, in_index=2, channels=8, num_classes=2, num_convs=1),
                test_cfg=dict(mode='whole'),
            )
        )
    )
    theirs = MODELS.build(config.model).eval()
    meta = dict(mmseg_version='0.30.0', CLASSES=('a', 'b'), PALETTE=[[0, 0, 0], [1, 1, 1]])
    torch.save(dict(meta=meta, state_dict=theirs.state_dict(), optimizer={}), tmp_path / 'zoo.pth')
    number, left_out = convert_file(str(tmp_path / 'zoo.pth'), str(tmp_path / 'ours.pth'), 'mmseg')
    assert number == len(theirs.state_dict()) and left_out == {}
    config.model.type = 'UDASegmentor'
    ours = init_trained_model(config, str(tmp_path / 'ours.pth'))
    assert ours.dataset_meta['palette'] == meta['PALETTE']
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(ours(images), theirs(images))


def test_what_is_no_such_checkpoint_is_refused(small, tmp_path):
    model, _, checkpoint = small
    with pytest.raises(CheckpointError, match=r'no weight whose name begins with model\.backbone\.'):
        convert_released(model.state_dict(), 'a.pth', 'daformer')
    with pytest.raises(CheckpointError, match='only with ema_model, imnet_model, model: it is no checkpoint of mmseg'):
        convert_released(checkpoint, 'a.pth', 'mmseg')
    student = {name: value for name, value in checkpoint['state_dict'].items() if name.startswith('model.')}
    with pytest.raises(CheckpointError, match='daformer with a teacher'):
        convert_released(student, 'a.pth', 'daformer', 'teacher')
    del student['model.backbone.block1.0.attn.kv.bias']
    with pytest.raises(CheckpointError, match=r'no backbone\.block1\.0\.attn\.kv\.bias'):
        convert_released(student, 'a.pth', 'daformer')
    torch.save(dict(state_dict=dict(a=print)), tmp_path / 'code.pth')
    with pytest.raises(UntrustedCheckpointError, match='none of it ran'):
        convert_file(str(tmp_path / 'code.pth'), str(tmp_path / 'ours.pth'), 'daformer')
    assert not os.path.exists(tmp_path / 'ours.pth')
