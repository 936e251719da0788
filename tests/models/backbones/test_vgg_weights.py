import http.server
import io
import logging
import pickle
import threading
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmseg.registry import MODELS
from torch import nn

from cda_mmseg.models.backbones import VGG
from cda_mmseg.models.backbones.vgg_weights import convert_vgg_weights
from cda_mmseg.models.decode_heads import FCN8sHead
from cda_mmseg.utils.loading.errors import CheckpointError

HED_FILE = Path(__file__).resolve().parents[4] / 'shared' / 'weights' / 'vgg16_features_hed_fp16.pth'
CONVOLUTIONS = {11: [1, 1, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4]}


class TorchvisionVGG(nn.Module):
    """torchvision's VGG, written again from its documentation, of any width."""

    def __init__(self, depth, base=64, hidden=4096, with_norm=False):
        super().__init__()
        layers, channels = [], 3
        for count, factor in zip(CONVOLUTIONS[depth], (1, 2, 4, 8, 8), strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(channels, base * factor, 3, padding=1))
                layers += [nn.BatchNorm2d(base * factor)] * with_norm
                layers.append(nn.ReLU())
                channels = base * factor
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels * 7 * 7, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, 10),
        )

    def hidden(self, x):
        return self.classifier[:6](torch.flatten(self.features(x), 1))


@pytest.fixture
def log():
    """Give what the current logger writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def saved(content, path):
    torch.save(content, path)
    return str(path)


def loaded(checkpoint, **arguments):
    arguments = dict(dict(depth=16, base_channels=4, fc_channels=32), **arguments)
    vgg = VGG(**arguments, init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
    vgg.init_weights()
    return vgg.eval()


def test_converted_fc_layers_compute_what_the_classifier_computes(tmp_path, log):
    torch.manual_seed(0)
    reference = TorchvisionVGG(16, base=4, hidden=32).eval()
    vgg = loaded(saved(reference.state_dict(), tmp_path / 'vgg16.pth'))
    image = torch.randn(2, 3, 224, 224)
    *_, fc7 = vgg(image)
    assert fc7.shape == (2, 32, 7, 7)
    # The 7x7 window of fc6 sees exactly the classifier's input where it does not reach into the padding.
    expected = reference.hidden(image)
    assert (expected > 0).any()
    torch.testing.assert_close(fc7[:, :, 3, 3], expected, rtol=1e-5, atol=1e-6)
    assert 'random' not in log.getvalue()


def test_weights_of_the_true_shapes_are_taken_completely():
    with torch.device('meta'):
        file, wanted = TorchvisionVGG(16).state_dict(), VGG().state_dict()
    converted, left = convert_vgg_weights(file, wanted, num_layers=31)
    assert left == []
    assert {key: value.shape for key, value in converted.items()} == {key: v.shape for key, v in wanted.items()}


def test_fc_layers_of_another_width_are_left_with_a_message(tmp_path, log):
    torch.manual_seed(0)
    reference = TorchvisionVGG(16, base=4, hidden=32)
    vgg = loaded(saved(reference.state_dict(), tmp_path / 'vgg16.pth'), fc_channels=8)
    assert torch.equal(vgg.features[0].weight, reference.features[0].weight)
    assert 'fc6 and fc7 are left at their random initialisation' in log.getvalue()
    assert 'fc_channels=8' in log.getvalue()


def test_features_only_file_of_half_precision_loads(tmp_path, log):
    torch.manual_seed(0)
    weights = {f'features.{k}': v.half() for k, v in TorchvisionVGG(16, base=4).features.state_dict().items()}
    vgg = loaded(saved(weights, tmp_path / 'features.pth'))
    for key, value in weights.items():
        assert vgg.state_dict()[key].dtype == torch.float32
        assert torch.equal(vgg.state_dict()[key], value.float())
    assert vgg.fc.fc6.weight.std() > 0
    assert 'Loaded 26 tensors of VGG-16' in log.getvalue()
    assert 'fc6 and fc7 are left' in log.getvalue()


@pytest.mark.skipif(not HED_FILE.is_file(), reason='the HED weights are not beside this checkout')
def test_hed_file_loads():
    vgg = loaded(str(HED_FILE), base_channels=64)
    weights = torch.load(HED_FILE, weights_only=True)
    assert len(weights) == 26
    assert all(torch.equal(vgg.state_dict()[key], value.float()) for key, value in weights.items())


def test_fewer_stages_take_their_part_of_the_file(tmp_path):
    reference = TorchvisionVGG(16, base=4, hidden=32)
    vgg = loaded(saved(reference.state_dict(), tmp_path / 'vgg16.pth'), out_indices=(1, 2))
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in vgg.state_dict().items())


def test_biases_in_front_of_batch_norm_are_folded(tmp_path):
    torch.manual_seed(0)
    reference = TorchvisionVGG(11, base=4, hidden=32, with_norm=True)
    for _ in range(3):
        reference.features(torch.randn(4, 3, 64, 64))
    vgg = loaded(
        saved(reference.eval().state_dict(), tmp_path / 'vgg11_bn.pth'),
        depth=11,
        norm_cfg=dict(type='BN'),
        out_indices=(4,),
    )
    image = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(vgg(image)[0], reference.features(image), rtol=1e-4, atol=1e-5)


def test_backbone_of_a_segmentors_checkpoint_loads_by_its_prefix(tmp_path, log):
    torch.manual_seed(0)
    trained = VGG(base_channels=4, fc_channels=32)
    state = {f'backbone.{key}': value for key, value in trained.state_dict().items()}
    state |= {f'opponent.{key}': value + 1 for key, value in trained.state_dict().items()}
    head = FCN8sHead([16, 32, 32], num_classes=3).state_dict()
    state |= {f'decode_head.{key}': value for key, value in head.items()}
    path = saved(dict(state_dict=state, meta=dict(iter=3)), tmp_path / 'iter_3.pth')
    init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    vgg = MODELS.build(dict(type='VGG', base_channels=4, fc_channels=32, init_cfg=init_cfg))
    vgg.init_weights()
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in vgg.state_dict().items())
    assert 'random' not in log.getvalue()


def test_a_second_initialisation_loads_nothing(tmp_path):
    vgg = loaded(saved(TorchvisionVGG(16, base=4, hidden=32).state_dict(), tmp_path / 'vgg16.pth'))
    vgg.features[0].weight.data.fill_(7)
    vgg.init_weights()
    assert (vgg.features[0].weight == 7).all()


def test_segmentor_initialises_the_backbone_from_its_file(tmp_path):
    torch.manual_seed(0)
    reference = TorchvisionVGG(16, base=4, hidden=32)
    path = saved(reference.state_dict(), tmp_path / 'vgg16.pth')
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='VGG',
                base_channels=4,
                fc_channels=32,
                init_cfg=[
                    dict(type='Constant', layer='Conv2d', val=0.5),
                    dict(type='Pretrained', checkpoint=path),
                ],
            ),
            decode_head=dict(type='FCN8sHead', in_channels=[16, 32, 32], num_classes=3),
            test_cfg=dict(mode='whole'),
        )
    )
    model.init_weights()
    assert torch.equal(model.backbone.fc.fc7.weight.flatten(), reference.classifier[3].weight.flatten())
    assert torch.equal(model.backbone.features[28].bias, reference.features[28].bias)


@pytest.mark.parametrize(
    ('file', 'arguments', 'message'),
    [
        (dict(depth=19), {}, r'missing: features.17.weight, .* not in the network: features.16.weight.*wrong shape'),
        (dict(depth=19), dict(out_indices=(2,)), 'not in the network: features.16.weight'),
        (dict(depth=11), {}, 'do not fit a VGG-16'),
        (dict(depth=16, base=8), {}, r'features.0.weight \(8, 3, 3, 3\) instead of \(4, 3, 3, 3\)'),
        (dict(depth=16, with_norm=True), {}, 'missing: features.2.weight'),
        (dict(depth=16), dict(norm_cfg=dict(type='GN', num_groups=2)), 'norm_cfg=.*GN'),
    ],
)
def test_file_of_another_network_is_refused(tmp_path, file, arguments, message):
    path = saved(TorchvisionVGG(**dict(dict(base=4, hidden=32), **file)).state_dict(), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=message) as error:
        loaded(path, **arguments)
    assert path in str(error.value)
    assert 'model.backbone.init_cfg.checkpoint' in str(error.value)
    assert len(str(error.value)) < 900


class Payload:
    def __reduce__(self):
        return Path.touch, (Path('executed'),)


def test_file_with_executable_content_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved({'features.0.weight': Payload()}, tmp_path / 'payload.pth')
    with pytest.raises(CheckpointError, match=r'payload\.pth.*model\.backbone\.init_cfg\.checkpoint'):
        loaded(path)
    assert not (tmp_path / 'executed').exists()
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path / 'executed').exists()


@pytest.mark.parametrize('kind', ['empty', 'truncated', 'text', 'list', 'no tensors', 'absent'])
def test_unusable_file_gives_one_error(tmp_path, kind):
    path = tmp_path / 'weights.pth'
    if kind == 'list':
        torch.save([torch.zeros(1)], path)
    elif kind == 'no tensors':
        torch.save(dict(epoch=3), path)
    elif kind != 'absent':
        torch.save(dict(weight=torch.zeros(1000)), path)
        content = {'empty': b'', 'truncated': path.read_bytes()[:-700], 'text': b'404: not found'}[kind]
        path.write_bytes(content)
    with pytest.raises(
        (CheckpointError, FileNotFoundError), match=r'weights\.pth.*model\.backbone\.init_cfg\.checkpoint'
    ):
        loaded(str(path))


@pytest.fixture
def server(tmp_path):
    """Serve a folder over HTTP."""
    folder = tmp_path / 'served'
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f'http://127.0.0.1:{running.server_port}'
        running.shutdown()
        thread.join()


def test_url_is_downloaded_once(tmp_path, monkeypatch, server):
    folder, address = server
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    reference = TorchvisionVGG(16, base=4, hidden=32)
    path = Path(saved(reference.state_dict(), folder / 'vgg16.pth'))
    for _ in range(2):
        vgg = loaded(f'{address}/vgg16.pth')
        assert torch.equal(vgg.features[0].weight, reference.features[0].weight)
        path.unlink(missing_ok=True)


def test_weights_that_cannot_be_downloaded_say_where_to_put_them(tmp_path, monkeypatch, server):
    _, address = server
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    url = f'{address}/vgg16-397923af.pth'
    with pytest.raises(CheckpointError, match='404') as error:
        loaded(url)
    target = tmp_path / 'cache' / 'hub' / 'checkpoints' / 'vgg16-397923af.pth'
    assert all(part in str(error.value) for part in (url, str(target), 'model.backbone.init_cfg.checkpoint'))
    assert not target.exists()
    # The advice works.
    reference = TorchvisionVGG(16, base=4, hidden=32)
    saved(reference.state_dict(), target)
    assert torch.equal(loaded(url).features[0].weight, reference.features[0].weight)


def test_pretrained_names_a_checkpoint_as_init_cfg_does(tmp_path):
    checkpoint = saved(TorchvisionVGG(16, base=4, hidden=32).state_dict(), tmp_path / 'vgg.pth')
    # as EncoderDecoder(pretrained=...) hands it on
    vgg = MODELS.build(dict(type='VGG', base_channels=4, fc_channels=32, pretrained=checkpoint))
    vgg.init_weights()
    expected = loaded(checkpoint).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in vgg.state_dict().items())
    with pytest.raises(ValueError, match='init_cfg and pretrained cannot be set at the same time'):
        VGG(pretrained=checkpoint, init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
