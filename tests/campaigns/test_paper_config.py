"""The paper's config as it stands, at 1024×512, on files laid out like the downloads."""

import pytest
import torch
from torch import nn

from cda_mmseg.datasets.worlds import write_world
from tests.campaigns.training import train

CONVOLUTIONS = {
    0: 64,
    2: 64,
    5: 128,
    7: 128,
    10: 256,
    12: 256,
    14: 256,
    17: 512,
    19: 512,
    21: 512,
    24: 512,
    26: 512,
    28: 512,
}


def torchvision_vgg16() -> dict[str, torch.Tensor]:
    """Make a state dict with the names and shapes of torchvision's vgg16, including the classifier."""
    state, channels = {}, 3
    for index, width in CONVOLUTIONS.items():
        layer = nn.Conv2d(channels, width, 3)
        state |= {f'features.{index}.{name}': value for name, value in layer.state_dict().items()}
        channels = width
    for index, (inputs, outputs) in {0: (25088, 4096), 3: (4096, 4096), 6: (4096, 1000)}.items():
        layer = nn.Linear(inputs, outputs)
        state |= {f'classifier.{index}.{name}': value for name, value in layer.state_dict().items()}
    return state


@pytest.mark.campaign
def test_the_papers_config_trains_unmodified(tmp_path):
    """Full widths, raw labels, weights found where the download would have put them; two steps."""
    write_world(tmp_path / 'data', size=(1914, 1052), source=8, target_train=2, target_val=2, workers=2)
    weights = tmp_path / 'torch' / 'hub' / 'checkpoints' / 'vgg16-397923af.pth'
    weights.parent.mkdir(parents=True)
    torch.save(torchvision_vgg16(), weights)
    log = train(
        'cl_gta2city',
        tmp_path / 'run',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_iters=2',
        'default_hooks.logger.interval=1',
        environment={'TORCH_HOME': str(tmp_path / 'torch')},
    )
    assert list(log.training['loss'].steps) == [1, 2]
    assert {'target/mIoU', 'source/mIoU'} <= log.validation.keys()
    trained = torch.load(tmp_path / 'run' / 'iter_2.pth', weights_only=False)['state_dict']
    fc6 = torch.load(weights, weights_only=True)['classifier.0.weight'].view(4096, 512, 7, 7)
    # Two steps of Adam at 1e-5 move a weight by at most about 2e-5: these are the file's weights.
    assert (trained['backbone.fc.fc6.weight'] - fc6).abs().max() < 1e-4
