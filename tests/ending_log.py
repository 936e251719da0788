"""Say how many reducers are alive when the process group is destroyed; runs load this as a custom import."""

import gc

from torch import distributed
from torch.nn.parallel import DistributedDataParallel

destroy = distributed.destroy_process_group


def destroy_process_group(group: distributed.ProcessGroup | None = None) -> None:
    """Do what the function of this name does, and say what it finds."""
    alive = sum(type(thing) is DistributedDataParallel for thing in gc.get_objects())
    print(f'Rank {distributed.get_rank()} leaves with {alive} reducers', flush=True)
    destroy(group)


distributed.destroy_process_group = destroy_process_group
