"""Self-training on two processes, each with images and masks of its own."""

from mmengine.optim import build_optim_wrapper

from cda_mmseg.models.wrappers import PlayerDistributedDataParallel
from cda_mmseg.utils.progress import TrainingProgress
from tests.models.adaptations.contract_model import config
from tests.models.distributed_training import share
from tests.models.segmentors.tiny_model import SEED, build, make_data, optimizer_config


def main(rank: int) -> dict:
    """Train on this rank, BatchNorm learning its statistics, and return what came out."""
    settings = config(
        self_training=dict(
            type='SelfTraining', threshold=0.21, momentum=0.6, jitter=dict(), masked_weight=0.5, block_size=16
        )
    )
    settings['backbone'] |= dict(norm_cfg=dict(type='BN'))
    model = build(settings)
    wrapped = PlayerDistributedDataParallel(model)
    optimizers = build_optim_wrapper(
        wrapped, dict(constructor='PlayerOptimWrapperConstructor', encoder=optimizer_config('SGD', lr=0.01)['encoder'])
    )
    logs = []
    for iteration in range(3):
        model.set_progress(TrainingProgress(iteration, 3, SEED, rank))
        logs.append(wrapped.train_step(share(make_data(iteration, batch_size=4), rank, 2), optimizers))
    confidence = [log['self_training.confidence'] for log in logs]
    return dict(state=model.state_dict(), confidence=confidence)
