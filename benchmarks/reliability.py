"""What reliability costs: short histories, the agreement to stop, whole checkpoints and reading them safely.

    OMP_NUM_THREADS=1 python benchmarks/reliability.py [--processes 2] [--megabytes 250] [--folder DIR]

* History: 15 scalars are logged at iterations 10 and 100,000, with MMEngine's histories and with short ones.
* Stop: each step computes for 20 ms and adds up one number over the processes, as gradients are; what comes on top is
  the agreement, overlapped as the hook does it, or waited for.
* Checkpoints: written by MMEngine in place, the same with flush and rename; read by torch alone, with the allow-list,
  and checked as before resuming.
"""

import argparse
import io
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import save_checkpoint

from cda_mmseg.engine.checkpointing import load_checkpoint_file, read_resume_point
from cda_mmseg.engine.checkpointing.atomic_file import replaced_when_complete
from cda_mmseg.engine.hooks.stop_agreement import StopAgreement

SCALARS = 15
STEP_SECONDS = 0.02


def median_seconds(action: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure_history() -> None:
    print(f'{"iteration":>9}  {"history":<8}  {"ms per iteration":>16}  {"MB in checkpoint":>16}')
    for iteration in (10, 100_000):
        for name, length in (('MMEngine', iteration), ('short', 10)):
            hub = MessageHub(f'{name}_{iteration}')
            for index in range(SCALARS):
                key = f'train/loss_{index}'
                hub.update_scalar(key, 0.0)
                hub.log_scalars[key] = HistoryBuffer(
                    np.zeros(length), np.ones(length), 10 if name == 'short' else 10**6
                )

            def log(hub: MessageHub = hub) -> None:
                for index in range(SCALARS):
                    hub.update_scalar(f'train/loss_{index}', 1.0)

            seconds = median_seconds(log, 100)
            file = io.BytesIO()
            torch.save(hub.state_dict(), file)
            print(f'{iteration:>9}  {name:<8}  {seconds * 1e3:>16.3f}  {file.tell() / 1e6:>16.3f}')


def compute() -> None:
    end = time.perf_counter() + STEP_SECONDS
    while time.perf_counter() < end:
        torch.ones(2000).sum()


def measure_stop(rank: int, processes: int, rendezvous: str) -> None:
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group('gloo', f'file://{rendezvous}', rank=rank, world_size=processes)
    agreement = StopAgreement()
    group = dist.new_group(backend='gloo') if processes > 1 else None

    def wait_for_all() -> None:
        wishes = torch.zeros(1, dtype=torch.int32)
        dist.all_reduce(wishes, dist.ReduceOp.MAX, group=group)
        wishes.item()

    variants = {'overlapped': lambda: agreement.ask(False)}
    if processes > 1:
        variants['waited for'] = wait_for_all
    gradient = torch.zeros(1)
    for name, ask in variants.items():
        times = []
        for _ in range(200):
            compute()
            if processes > 1:
                dist.all_reduce(gradient)
            begin = time.perf_counter()
            ask()
            times.append(time.perf_counter() - begin)
        agreement.close()
        if rank == 0:
            high = np.percentile(times, 95)
            print(f'{processes} processes, {name}: median {np.median(times) * 1e6:.1f} us, 95 % {high * 1e6:.1f} us')
    if processes > 1:
        dist.destroy_process_group()


def measure_checkpoints(folder: str, megabytes: int) -> None:
    tensors = {f'layer_{index}': torch.randn(2_500_000) for index in range(megabytes // 10)}
    checkpoint = dict(meta=dict(iter=1), state_dict=tensors, optimizer={}, message_hub={})
    path = os.path.join(folder, 'iter_1.pth')

    def write_whole() -> None:
        with replaced_when_complete(path) as incomplete:
            save_checkpoint(checkpoint, incomplete)

    actions = {
        'write in place': lambda: save_checkpoint(checkpoint, path),
        'write whole': write_whole,
        'read, torch alone': lambda: torch.load(path, weights_only=False),
        'read, allow-list': lambda: load_checkpoint_file(path),
        'check before resuming': lambda: read_resume_point(path),
    }
    for name, action in actions.items():
        print(f'{megabytes} MB, {name}: {median_seconds(action, 5):.3f} s')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--processes', type=int, default=2, help='processes that agree to stop')
    parser.add_argument('--megabytes', type=int, default=250, help='size of the checkpoint')
    parser.add_argument('--folder', default=None, help='where to write it; a temporary folder by default')
    options = parser.parse_args()
    print(f'torch {torch.__version__}, {os.cpu_count()} CPUs, {platform.machine()}, load {os.getloadavg()[0]:.1f}')
    measure_history()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure_stop(0, 1, '')
        torch.multiprocessing.spawn(
            measure_stop, (options.processes, os.path.join(folder, 'rendezvous')), nprocs=options.processes
        )
        measure_checkpoints(folder, options.megabytes)


if __name__ == '__main__':
    main()
