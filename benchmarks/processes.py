"""Step time of one and of several processes, and the share of it that communication takes.

    OMP_NUM_THREADS=1 python -m benchmarks.processes [--processes 1 2] [--steps 30] [--config CONFIG]

Each process trains the config's model with the config's batch size on random images of the config's crop size; nothing
is read from disk. *Reducing* is the time from starting a bucket's all-reduce to its result, summed over the buckets of
a step: part of it is waiting for the slower process. *Alone* is the same all-reduce with nothing else going on.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.multiprocessing
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import distributed

from cda_mmseg.engine.composition import read_config
from cda_mmseg.models.wrappers import PlayerDistributedDataParallel
from cda_mmseg.utils.progress import TrainingProgress

WARM_UP = 3


def random_batch(config: Config, rank: int) -> dict:
    generator = torch.Generator().manual_seed(rank)
    size = tuple(config.model.data_preprocessor.size)
    count = config.train_dataloader.batch_size
    batch = {}
    for domain in ('source', 'target'):
        samples = [SegDataSample(metainfo=dict(img_shape=size, img_path='random')) for _ in range(count)]
        for sample in samples:
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, *size), generator=generator))
        images = [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for _ in range(count)]
        batch[domain] = dict(inputs=images, data_samples=samples)
    return batch


def measure(rank: int, processes: int, rendezvous: str, config: Config, steps: int) -> None:
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    config.model.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(config.model).train()
    reducing: list[float] = []
    buckets: list[torch.Tensor] = []
    trained = model
    if processes > 1:
        distributed.init_process_group('gloo', f'file://{rendezvous}', rank=rank, world_size=processes)
        trained = PlayerDistributedDataParallel(model)

        def reduce(state: None, bucket: distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
            begin = time.perf_counter()
            buckets.append(torch.zeros_like(bucket.buffer()))
            future = distributed.all_reduce(bucket.buffer(), async_op=True).get_future()

            def finish(result: torch.futures.Future) -> torch.Tensor:
                reducing.append(time.perf_counter() - begin)
                return result.value()[0] / processes

            return future.then(finish)

        for wrapper in trained.forwards.values():
            wrapper.register_comm_hook(None, reduce)
    optimizers = build_optim_wrapper(trained, config.optim_wrapper)
    batch = random_batch(config, rank)
    step_times, reduce_times = [], []
    for step in range(steps + WARM_UP):
        model.set_progress(TrainingProgress(step, steps + WARM_UP, 0, rank))
        reducing.clear()
        buckets.clear()
        begin = time.perf_counter()
        trained.train_step(batch, optimizers)
        if step >= WARM_UP:
            step_times.append(time.perf_counter() - begin)
            reduce_times.append(sum(reducing))
    alone_times = []
    if processes > 1:
        for _ in range(10):
            distributed.barrier()
            begin = time.perf_counter()
            for bucket in buckets:
                distributed.all_reduce(bucket)
            alone_times.append(time.perf_counter() - begin)
    if rank == 0:
        step_time = statistics.median(step_times)
        line = f'{processes} processes: step {step_time * 1e3:.1f} ms'
        if processes > 1:
            megabytes = sum(bucket.numel() * bucket.element_size() for bucket in buckets) / 1e6
            reduce_time, alone = statistics.median(reduce_times), statistics.median(alone_times)
            line += (
                f', reducing {megabytes:.1f} MB in {len(buckets)} buckets {reduce_time * 1e3:.1f} ms '
                f'({reduce_time / step_time:.0%} of the step, overlap not deducted), '
                f'alone {alone * 1e3:.1f} ms ({alone / step_time:.0%})'
            )
        print(f'{line}, load {os.getloadavg()[0]:.1f}')
    if processes > 1:
        # The wrappers first: as last owners of the group they would join its threads while these wait for the GIL.
        del trained, wrapper
        distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2], help='numbers of processes')
    parser.add_argument('--steps', type=int, default=30, help='steps that are timed, after three that are not')
    default = Path(__file__).resolve().parents[1] / 'configs' / 'demo' / 'cl_gta2city.py'
    parser.add_argument('--config', default=str(default), help='config of the model, batch size and crop size')
    options = parser.parse_args()
    print(f'torch {torch.__version__}, {os.cpu_count()} CPUs, {platform.machine()}, load {os.getloadavg()[0]:.1f}')
    config = read_config(options.config)
    for processes in options.processes:
        with tempfile.TemporaryDirectory() as folder:
            arguments = (processes, os.path.join(folder, 'rendezvous'), config, options.steps)
            torch.multiprocessing.spawn(measure, arguments, nprocs=processes)


if __name__ == '__main__':
    main()
