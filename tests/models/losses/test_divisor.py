"""The mean over labelled pixels is the same for any number of processes."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cda_mmseg.models.losses import ConservativeLoss, FloodingLoss, SoftmaxCrossEntropyLoss, WarmStartLoss
from cda_mmseg.models.losses.divisor import mean_divisor
from cda_mmseg.utils.progress import TrainingProgress
from tests.forked_processes import start_process

CLASS_WEIGHT = [0.5, 1, 2, 0.25, 4]
WORLD_SIZE = 2


def losses():
    warm_start = WarmStartLoss({'type': 'CrossEntropyLoss', 'avg_non_ignore': True}, {'type': 'ConservativeLoss'})
    warm_start.set_progress(TrainingProgress())
    return {
        'conservative': ConservativeLoss(),
        'class weights': SoftmaxCrossEntropyLoss(class_weight=CLASS_WEIGHT),
        'all pixels': ConservativeLoss(avg_non_ignore=False),
        'warm start': warm_start,
        'mean of the batch': ConservativeLoss(level='batch'),
        'weighted mean of the batch': FloodingLoss(0.5, class_weight=CLASS_WEIGHT),
        'mean of an image': ConservativeLoss(level='image', gradient='reversed'),
    }


def labels(ignored):
    """Labels of two pictures, the second one with `ignored` of its 36 pixels without a label."""
    label = torch.randint(0, 5, (2, 6, 6), generator=torch.Generator().manual_seed(1))
    label[0, 0, :4] = 255
    label[1].view(-1)[:ignored] = 255
    return label


def gradients(rank, world_size, wrap):
    """The gradient of each loss on this process's share of the two pictures."""
    torch.manual_seed(0)
    results = {}
    pictures = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    for ignored in (10, 36):
        for name, loss in losses().items():
            torch.manual_seed(0)
            network = wrap(nn.Conv2d(3, 5, 3, padding=1).double())
            value = loss(network(pictures[rank::world_size]), labels(ignored)[rank::world_size], ignore_index=255)
            value.backward()
            results[name, ignored] = (value.detach(), [parameter.grad for parameter in network.parameters()])
    return results


def run_process(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=WORLD_SIZE
    )
    torch.save(gradients(rank, WORLD_SIZE, DistributedDataParallel), folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()


def test_two_processes_have_the_gradient_of_one(tmp_path):
    processes = [start_process(run_process, rank, tmp_path) for rank in range(WORLD_SIZE)]
    expected = gradients(0, 1, lambda network: network)
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    ranks = [torch.load(tmp_path / f'{rank}.pth') for rank in range(WORLD_SIZE)]
    for case, (value, gradient) in expected.items():
        # mmseg's cross entropy adds 1.2e-7 to the divisor, which is not the same for one and for two processes.
        tolerance = 1e-8 if case[0] == 'warm start' else 1e-12
        mean_value = sum(rank[case][0] for rank in ranks) / WORLD_SIZE
        torch.testing.assert_close(mean_value, value, rtol=tolerance, atol=tolerance, msg=str(case))
        for rank in ranks:
            torch.testing.assert_close(rank[case][1], gradient, rtol=tolerance, atol=tolerance, msg=str(case))
    # The test would notice a mean over each process alone.
    assert ranks[0]['conservative', 36][0] != expected['conservative', 36][0]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_one_process(dtype):
    label = labels(10)
    ignored = label == 255
    label[ignored] = 3
    assert mean_divisor(label, ignored, None, dtype).item() == 72 - 14
    weights = torch.tensor(CLASS_WEIGHT)
    divisor = mean_divisor(label, ignored, weights, dtype)
    assert divisor.dtype == dtype
    assert divisor.item() == sum(CLASS_WEIGHT[entry] for entry in label[~ignored].tolist())
    assert mean_divisor(label, torch.ones_like(ignored), weights, dtype).item() == 0
