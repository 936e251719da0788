"""Several processes train what one process trains."""

import pytest
import torch
from mmengine.registry import init_default_scope

from cda_mmseg.models.wrappers import PlayerDistributedDataParallel
from tests.models import distributed_adversaries, distributed_teacher, distributed_training, distributed_views
from tests.models.distributed_training import ITERATIONS, train
from tests.models.two_processes import call_on_two

init_default_scope('mmseg')


@pytest.mark.parametrize(
    'kind, dtype, accumulation, tolerance',
    [('SGD', 'float32', 1, 1e-6), ('Adam', 'float64', 1, 1e-10), ('SGD', 'float64', 2, 1e-10)],
)
def test_two_processes_equal_one_with_twice_the_batch(tmp_path, kind, dtype, accumulation, tolerance):
    """Unequal numbers of ignored pixels included; ranks alike bit for bit; every gradient reduced once per step."""
    ranks = call_on_two(tmp_path, distributed_training.main, kind, dtype, accumulation)
    for name, value in ranks[0]['weights'].items():
        assert torch.equal(value, ranks[1]['weights'][name]), name
    one, _ = train(kind, getattr(torch, dtype), accumulation, 0, 1)
    for name, value in one.named_parameters():
        assert (value - ranks[0]['weights'][name]).abs().max() < tolerance, name
    for player in ('encoder', 'generator', 'discriminator'):
        size = sum(value.numel() * value.element_size() for value in one.player(player).parameters())
        assert ranks[0]['reduced'][player] == ITERATIONS * size


def test_two_processes_with_several_encodes_and_little_memory_equal_one(tmp_path):
    """Domains apart in a ResNet-50 with checkpointed activations: reentrant checkpoints die here."""
    ranks = call_on_two(tmp_path, distributed_views.main)
    one = distributed_views.train(0, 1)
    for name, value in one.named_parameters():
        assert torch.equal(ranks[0]['weights'][name], ranks[1]['weights'][name]), name
        assert (value - ranks[0]['weights'][name]).abs().max() < 1e-6, name


def test_teachers_are_alike_on_all_processes(tmp_path):
    """Each process has its own images, masks and statistics of BatchNorm; teacher, weights and q are of all."""
    ranks = call_on_two(tmp_path, distributed_teacher.main)
    states = [rank['state'] for rank in ranks]
    alike = {name for name, value in states[0].items() if torch.equal(value, states[1][name])}
    own = {name for name in states[0] if 'running_' in name and not name.startswith('adaptations.')}
    assert own and alike == states[0].keys() - own
    assert ranks[0]['confidence'] == ranks[1]['confidence']


def test_two_processes_with_six_rivals_equal_one(tmp_path):
    """Discriminators of outputs and of features, entropy, maximum squares, feature distance in one model; float64."""
    ranks = call_on_two(tmp_path, distributed_adversaries.main)
    one, _ = distributed_adversaries.train(0, 1)
    for name, value in one.named_parameters():
        assert torch.equal(ranks[0]['weights'][name], ranks[1]['weights'][name]), name
        assert (value - ranks[0]['weights'][name]).abs().max() < 1e-10, name
    # One domain goes through E after the other, and yet its gradients are averaged once a step.
    size = sum(value.numel() * value.element_size() for value in one.encoder.parameters())
    assert ranks[0]['reduced']['encoder'] == distributed_adversaries.ITERATIONS * size


def test_other_models_are_passed_through_but_not_trained():
    model = torch.nn.Linear(1, 1)
    wrapped = PlayerDistributedDataParallel(model)
    assert wrapped.module is model
    with pytest.raises(TypeError, match='Linear'):
        wrapped.train_step({}, None)
