"""What reliability costs: short histories, the agreement to stop, whole checkpoints and reading them safely.

    OMP_NUM_THREADS=1 python -m benchmarks.reliability [--parts PART ...] [--processes 2] [--megabytes 250]

* History: 15 scalars are logged at iterations 10 and 100,000, with MMEngine's histories and with short ones.
* Stop: each step computes for 20 ms and adds up one number over the processes, as gradients are; what comes on top is
  the agreement, overlapped as the hook does it, or waited for.
* Checkpoints: written by MMEngine in place, the same with flush and rename; read by torch alone, with the allow-list,
  and checked as before resuming; looked through for NaN and infinity before they are written.
* Resume: from starting tools/train.py to the first step that it logs, at iteration 10 and at iteration 100,000. Both
  checkpoints come from one run of the smoke config, whose ten iterations were really trained; the counters of the later
  one (iteration, samples, schedulers, Adam's steps) are set to what they would be. Histories are bounded in both.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import save_checkpoint

from cda_mmseg.datasets.worlds import write_world
from cda_mmseg.engine.checkpointing import read_resume_point
from cda_mmseg.engine.hooks.stop_agreement import StopAgreement
from cda_mmseg.utils.atomic_file import replaced_when_complete
from cda_mmseg.utils.finite import describe_non_finite
from cda_mmseg.utils.loading import load_checkpoint_file
from cda_mmseg.utils.loading.checksums import find_damage

ROOT = Path(__file__).resolve().parents[1]
PARTS = ('history', 'stop', 'checkpoints', 'resume')
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
    hub = dict(log_scalars={}, runtime_info={}, resumed_keys={})
    checkpoint = dict(meta=dict(iter=1, epoch=0), state_dict=tensors, optimizer={}, message_hub=hub)
    path = os.path.join(folder, 'iter_1.pth')

    def write_whole() -> None:
        with replaced_when_complete(path) as incomplete:
            save_checkpoint(checkpoint, incomplete)

    actions = {
        'write in place': lambda: save_checkpoint(checkpoint, path),
        'write whole': write_whole,
        'read, torch alone': lambda: torch.load(path, weights_only=False),
        'compare checksums': lambda: find_damage(path),
        'read, checksums and allow-list': lambda: load_checkpoint_file(path),
        'check before resuming': lambda: read_resume_point(path),
    }
    actions['look for NaN and infinity before writing'] = lambda: describe_non_finite(tensors, {})
    for name, action in actions.items():
        print(f'{megabytes} MB, {name}: {median_seconds(action, 5):.3f} s')


def start_training(folder: Path, work_dir: Path, *arguments: str, **changes: object) -> subprocess.Popen:
    """Start tools/train.py on the smoke config, in the folder that has its world."""
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(ROOT / 'configs' / 'smoke' / 'cl_gta2city.py')]
    command += ['--work-dir', str(work_dir), *arguments, '--cfg-options', 'default_hooks.logger.interval=1']
    command += [f'{key.replace("__", ".")}={value}' for key, value in changes.items()]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    with open(f'{work_dir}.txt', 'w') as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)


def write_checkpoint_at(iteration: int, trained: str, path: Path) -> None:
    """Write the checkpoint that a run of so many iterations would have left, from one of a shorter run."""
    checkpoint = load_checkpoint_file(trained)
    factor = iteration / checkpoint['meta']['iter']
    info = checkpoint['message_hub']['runtime_info']
    consumed = {domain: round(samples * factor) for domain, samples in info['samples_consumed'].items()}
    checkpoint['meta'].update(iter=iteration, samples_consumed=consumed)
    info.update(iter=iteration - 1, samples_consumed=consumed, keep_ckpt_ids=[iteration], last_ckpt=str(path))
    for schedulers in checkpoint['param_schedulers'].values():
        for scheduler in schedulers:
            scheduler.update(last_step=iteration, _global_step=iteration + 1)
    for optimizer in checkpoint['optimizer'].values():
        for state in optimizer['state'].values():
            state['step'].fill_(iteration)
    torch.save(checkpoint, path)


def seconds_to_first_step(folder: Path, checkpoint: Path, iteration: int, work_dir: Path) -> float:
    """Time a process that resumes at an iteration, from its start to the first step in its log."""
    begin = time.perf_counter()
    process = start_training(
        folder,
        work_dir,
        f'--resume={checkpoint}',
        train_cfg__max_iters=10**6,
        train_cfg__val_interval=10**6,
        default_hooks__checkpoint__interval=10**6,
    )
    try:
        while not (log := ''.join(file.read_text() for file in work_dir.glob('*/vis_data/scalars.json'))):
            if process.poll() is not None:
                raise RuntimeError(Path(f'{work_dir}.txt').read_text())
            time.sleep(0.001)
        seconds = time.perf_counter() - begin
        if json.loads(log.splitlines()[0])['step'] != iteration + 1:
            raise RuntimeError(f'The first step is not that after {iteration}: {log.splitlines()[0]}')
        return seconds
    finally:
        process.terminate()
        process.wait()


def measure_resume(folder: Path, repeats: int) -> None:
    world = folder / 'data' / 'worlds' / 'smoke_gta2city'
    with contextlib.redirect_stdout(io.StringIO()):
        write_world(world, 'gta2city', size=(64, 32), source=8, target_train=8, target_val=4)
    trained = folder / 'trained'
    changes = dict(train_cfg__max_iters=10, train_cfg__val_interval=10, default_hooks__checkpoint__interval=10)
    if start_training(folder, trained, **changes).wait() != 0:
        raise RuntimeError(Path(f'{trained}.txt').read_text())
    times: dict[int, list[float]] = {10: [], 100_000: []}
    checkpoints = {iteration: folder / f'iter_{iteration}.pth' for iteration in times}
    for iteration, path in checkpoints.items():
        write_checkpoint_at(iteration, str(trained / 'iter_10.pth'), path)
    for repeat in range(repeats):
        for iteration, path in checkpoints.items():
            seconds = seconds_to_first_step(folder, path, iteration, folder / f'resumed_{iteration}_{repeat}')
            times[iteration].append(seconds)
    for iteration, seconds in times.items():
        listing = ', '.join(f'{value:.2f}' for value in seconds)
        size = checkpoints[iteration].stat().st_size / 1e6
        print(
            f'resume at iteration {iteration}: {statistics.median(seconds):.2f} s to the first step ({listing}), '
            f'checkpoint of {size:.2f} MB'
        )
    near, far = (statistics.median(seconds) for seconds in times.values())
    print(f'resume at 100000 minus resume at 10: {far - near:+.2f} s')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS, help='what to measure')
    parser.add_argument('--processes', type=int, default=2, help='processes that agree to stop')
    parser.add_argument('--megabytes', type=int, default=250, help='size of the checkpoint')
    parser.add_argument('--repeats', type=int, default=3, help='how often to resume at each iteration')
    parser.add_argument('--folder', default=None, help='where to write files; a temporary folder by default')
    options = parser.parse_args()
    print(f'torch {torch.__version__}, {os.cpu_count()} CPUs, {platform.machine()}, load {os.getloadavg()[0]:.1f}')
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if 'history' in options.parts:
            measure_history()
        if 'stop' in options.parts:
            measure_stop(0, 1, '')
            torch.multiprocessing.spawn(
                measure_stop, (options.processes, os.path.join(folder, 'rendezvous')), nprocs=options.processes
            )
        if 'checkpoints' in options.parts:
            measure_checkpoints(folder, options.megabytes)
        if 'resume' in options.parts:
            measure_resume(Path(folder), options.repeats)


if __name__ == '__main__':
    main()
