"""Train the tiny segmentor on several processes."""

import weakref

import torch
from mmengine.optim import build_optim_wrapper
from torch import distributed

from cda_mmseg.models.wrappers import PlayerDistributedDataParallel
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.segmentors.tiny_model import SEED, build, double_precision, make_data, model_config, optimizer_config

ITERATIONS = 5


def config(dropout: float = 0.0) -> dict:
    """Without dropout and noise, which every rank draws for itself; cross entropy, then the Conservative Loss."""
    base = model_config()
    base['backbone']['dropout'] = dropout
    base['generator'] |= dict(dropout=dropout, noise_std=0.0)
    base['decode_head'] |= dict(
        loss_decode=dict(
            type='WarmStartLoss',
            warm=dict(type='SoftmaxCrossEntropyLoss'),
            main=dict(type='ConservativeLoss', loss_weight=5.0),
            warm_fraction=0.5,
        ),
        zero_init=True,
    )
    return base


def share(data: dict, rank: int, world_size: int) -> dict:
    """Give a process its samples of a batch."""
    return {domain: {key: values[rank::world_size] for key, values in batch.items()} for domain, batch in data.items()}


def unequal(data: dict, iteration: int) -> dict:
    """Ignore far more pixels in one sample than in the other; in one step, all of them."""
    label = data['source']['data_samples'][0].gt_sem_seg.data
    label[:, : 32 if iteration == 2 else 25] = 255
    return data


def count_reduced(wrapped: PlayerDistributedDataParallel, world_size: int) -> dict[str, int]:
    """Return what will hold, per player, the bytes of gradients that were averaged over the processes."""
    reduced: dict[str, int] = {}
    for name, player in wrapped.forwards.items():

        def count(state, bucket, name=name):
            reduced[name] = reduced.get(name, 0) + bucket.buffer().numel() * bucket.buffer().element_size()
            future = distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
            return future.then(lambda result: result.value()[0] / world_size)

        player.register_comm_hook(None, count)
    return reduced


def train(kind: str, dtype: torch.dtype, accumulation: int, rank: int, world_size: int):
    """Train and return the model and, per player, the bytes that were reduced.

    The wrappers are not returned: they must be gone before the process group is. Their reducers, as its last owners,
    would join its threads while those wait for the GIL to call a callback.
    """
    # In double precision also in the other way to compute the step.
    model = build(config() | dict(execution=dict(batch_domains=dtype == torch.float64)), dtype)
    if dtype == torch.float64:
        model.data_preprocessor.forward = double_precision(model.data_preprocessor.forward)
    wrapped = PlayerDistributedDataParallel(model) if world_size > 1 else model
    reduced = count_reduced(wrapped, world_size) if world_size > 1 else {}
    optimizers = build_optim_wrapper(wrapped, optimizer_config(kind, accumulation, lr=1e-4))
    optimizers.initialize_count_status(wrapped, 0, ITERATIONS * accumulation)
    for iteration in range(ITERATIONS * accumulation):
        model.set_progress(TrainingProgress(iteration, ITERATIONS * accumulation, SEED, rank))
        data = unequal(make_data(iteration, batch_size=2), iteration)
        wrapped.train_step(share(data, rank, world_size), optimizers)
    if world_size > 1:
        reducers = [weakref.ref(player) for player in wrapped.forwards.values()]
        del wrapped
        assert [reducer() for reducer in reducers] == [None] * len(reducers)
    return model, reduced


def main(rank: int, kind: str, dtype: str, accumulation: int) -> dict:
    """Train on this rank and return what came out."""
    model, reduced = train(kind, getattr(torch, dtype), accumulation, rank, 2)
    return dict(weights=dict(model.named_parameters()), reduced=reduced)
