import pytest
import torch
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file

from cda_mmseg.models.backbones.weight_files import read_weights
from cda_mmseg.utils.loading import UnreadableCheckpointError, install_safe_loader, load_checkpoint_file


@pytest.fixture
def file(tmp_path):
    state = {'module.0.weight': torch.randn(3, 2), 'module.0.bias': torch.randn(3)}
    save_file(state, tmp_path / 'a.safetensors')
    return tmp_path / 'a.safetensors'


def test_weights_are_read_wherever_checkpoints_are(file):
    network = torch.nn.Sequential(torch.nn.Linear(2, 3))
    install_safe_loader()
    load_checkpoint(network, str(file), map_location='cpu', strict=True)
    read = load_checkpoint_file(str(file))
    assert set(read) == {'0.weight', '0.bias'} == set(read_weights(str(file)))
    assert all(torch.equal(read[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize('content', [lambda whole: whole[: len(whole) // 2], lambda _: b'no tensors, but a text'])
def test_half_a_file_and_one_of_another_kind_are_named(file, content):
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(UnreadableCheckpointError, match='cannot be read as safetensors'):
        load_checkpoint_file(str(file))


def test_a_hash_in_the_name_is_compared(file):
    with pytest.raises(UnreadableCheckpointError, match='SHA-256'):
        load_checkpoint_file(str(file.rename(file.with_name('a-0123abcd.safetensors'))))
