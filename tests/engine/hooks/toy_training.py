"""A small real run, two optimizers and all, that child processes of the tests train, are killed in, and resume."""

import ctypes
import os
import resource
import signal
import sys
import time
import traceback
from multiprocessing import active_children
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from mmseg.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from torch.utils.data import Dataset

from cda_mmseg.engine.checkpointing import find_resume_point
from cda_mmseg.engine.hooks import StopHook
from cda_mmseg.engine.hooks.stop_agreement import StopAgreement
from cda_mmseg.engine.optim import PlayerOptimWrapperDict
from cda_mmseg.utils.loading import install_safe_loader
from tests.forked_processes import start_process

PR_SET_PDEATHSIG = 1


@DATASETS.register_module()
class ToyDataset(Dataset):
    metainfo = dict(classes=('a', 'b'))

    def __init__(self, length=16):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(4, generator=generator), torch.randn(1, generator=generator)


@MODELS.register_module()
class ToyModel(BaseModel):
    """Two players, each with an optimizer; ``ballast`` makes the checkpoint large."""

    def __init__(self, ballast=0):
        super().__init__()
        self.first = torch.nn.Linear(4, 3)
        self.second = torch.nn.Linear(3, 1)
        self.register_buffer('ballast', torch.zeros(ballast))
        if get_world_size() > 1:
            for parameter in self.parameters():
                parameter.register_hook(self.average)

    @staticmethod
    def average(gradient):
        """Share a gradient with the other processes, as a distributed wrapper does."""
        gradient = gradient / get_world_size()
        dist.all_reduce(gradient)
        return gradient

    def forward(self, inputs, labels, mode='loss'):
        features = self.first(inputs)
        if mode == 'first':
            return (features - inputs.mean(1, keepdim=True)).square().mean()
        loss = (self.second(features) - labels).square().mean()
        return [dict(score=float(loss)) for _ in range(len(inputs))] if mode == 'predict' else loss

    def train_step(self, data, optim_wrapper):
        losses = {}
        for player, mode in (('first', 'first'), ('second', 'loss')):
            others = self.second if player == 'first' else self.first
            others.requires_grad_(False)
            with optim_wrapper[player].optim_context(self):
                losses[f'{player}_loss'] = self(*data, mode=mode)
            optim_wrapper[player].update_params(losses[f'{player}_loss'])
            others.requires_grad_(True)
        return losses

    def val_step(self, data):
        return self(*data, mode='predict')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ToyOptimizers:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.accumulative_counts = optim_wrapper_cfg['accumulative_counts']
        self.first, self.second = optim_wrapper_cfg['first'], optim_wrapper_cfg['second']

    def __call__(self, model):
        from mmengine.optim import OptimWrapper

        return PlayerOptimWrapperDict(
            **{
                name: OptimWrapper(optimizer(getattr(model, name).parameters()), self.accumulative_counts)
                for name, optimizer in (
                    ('first', lambda parameters: torch.optim.Adam(parameters, **self.first)),
                    ('second', lambda parameters: torch.optim.SGD(parameters, **self.second)),
                )
            }
        )


@METRICS.register_module()
class ToyScore(BaseMetric):
    default_prefix = 'target'

    def process(self, data_batch, data_samples):
        self.results += [sample['score'] for sample in data_samples]

    def compute_metrics(self, results):
        return dict(mIoU=-sum(results) / len(results))


class AtMoment(Hook):
    """Act at one moment of a run."""

    priority = 'LOWEST'

    def __init__(self, stage, iteration):
        self.moment = (stage, iteration)

    def act(self, runner):
        raise NotImplementedError

    def _at(self, stage, runner, iteration):
        if (stage, iteration) == self.moment:
            self.act(runner)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._at('before_train_iter', runner, runner.iter + 1)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._at('after_train_iter', runner, runner.iter + 1)

    def before_val(self, runner):
        self._at('before_val', runner, runner.iter)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._at('after_val_iter', runner, runner.iter)

    def after_val(self, runner):
        self._at('after_val', runner, runner.iter)


@HOOKS.register_module()
class PauseAt(AtMoment):
    """Touch the file ``paused`` and wait, so that the parent can do something at exactly this moment."""

    def __init__(self, stage, iteration, rank=0, signalled=False):
        super().__init__(stage, iteration)
        self.rank, self.signalled = rank, signalled

    def act(self, runner):
        if int(os.environ.get('RANK', 0)) == self.rank:
            Path(runner.work_dir, 'paused').touch()
            watchers = [hook._watcher for hook in runner.hooks if self.signalled and isinstance(hook, StopHook)]
            deadline = time.monotonic() + 300
            while time.monotonic() < deadline and (
                Path(runner.work_dir, 'paused').exists() or any(watcher.received is None for watcher in watchers)
            ):
                time.sleep(0.005)


@HOOKS.register_module()
class BlockAt(AtMoment):
    """Wait in a system call that signal handlers do not get through to."""

    def act(self, runner):
        Path(runner.work_dir, 'paused').touch()
        ctypes.CDLL(None).usleep.restype = ctypes.c_int
        for _ in range(60):
            ctypes.CDLL(None).usleep(999_999)


@HOOKS.register_module()
class LimitFileSizeAt(AtMoment):
    def act(self, runner):
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))


@HOOKS.register_module()
class ForbidWritingAt(AtMoment):
    """Make the run's folder read-only, for root's children too; the logs inside stay writable."""

    def act(self, runner):
        work_dir = Path(runner.work_dir)
        for path in work_dir.rglob('*'):
            path.chmod(0o777)
        work_dir.chmod(0o555)
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            (work_dir / 'probe').touch()
        except PermissionError:
            (work_dir / 'log' / 'refused').touch()


@HOOKS.register_module()
class PauseAtRemoval(Hook):
    """Touch the file ``paused`` and wait when a file is about to be removed."""

    def __init__(self, name):
        self.name = name

    def before_train(self, runner):
        def pause(event, arguments):
            if event == 'os.remove' and os.path.basename(arguments[0]) == self.name:
                Path(runner.work_dir, 'paused').touch()
                time.sleep(60)

        sys.addaudithook(pause)


@HOOKS.register_module()
class SpoilMessageHub(Hook):
    """Put something into the run that cannot be written."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.message_hub.update_info('unwritable', lambda: None)


@HOOKS.register_module()
class EndAt(AtMoment):
    """Let the loop end here."""

    def act(self, runner):
        runner.train_loop.stop_training = True


@HOOKS.register_module()
class SpoilAt(AtMoment):
    """Make one number of a weight, the ballast or an optimizer's state NaN or infinite."""

    def __init__(self, stage, iteration, state, value='nan'):
        super().__init__(stage, iteration)
        self.state, self.value = state, float(value)

    def act(self, runner):
        model, weight = runner.model, runner.model.first.weight
        states = runner.optim_wrapper['first'].optimizer.state[weight]
        target = dict(weight=weight, ballast=model.ballast, **states)[self.state]
        target.data.view(-1)[1] = self.value


@HOOKS.register_module()
class KillWorkerAtSave(Hook):
    """Kill a data loader worker in the midst of saving an iteration, as a machine short of memory does."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_save_checkpoint(self, runner, checkpoint):
        if checkpoint['meta']['iter'] == self.iteration:
            os.kill(active_children()[0].pid, signal.SIGKILL)
            time.sleep(10)  # torch interrupts it


@HOOKS.register_module()
class SamplesConsumed(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.message_hub.update_info('samples_consumed', dict(source=4 * (runner.iter + 1)))


def build_runner(
    work_dir,
    max_iters=20,
    val_interval=5,
    checkpoint=None,
    hooks=(),
    resume=False,
    load_from=None,
    ballast=0,
    accumulative_counts=1,
    num_workers=0,
    dynamic_intervals=None,
    log_processor=None,
    seed=7,
    checkpoint_type='AtomicCheckpointHook',
    val_batch_size=4,
    val_length=16,
    first=None,
    second=None,
    schedule='poly',
):
    """Build a runner as a tool would; ``resume`` goes on from the newest checkpoint if there is one."""
    work_dir = str(work_dir)
    point = find_resume_point(work_dir) if resume else None
    model = dict(type='ToyModel', ballast=ballast)
    if schedule == 'poly':
        schedule = dict(type='PolyLR', eta_min=1e-4, power=0.9, by_epoch=False, begin=0, end=max_iters)
    return Runner(
        model=model,
        work_dir=work_dir,
        train_dataloader=dict(
            dataset=dict(type='ToyDataset'),
            batch_size=4,
            num_workers=num_workers,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='InfiniteSampler', shuffle=True),
        ),
        val_dataloader=dict(
            dataset=dict(type='ToyDataset', length=val_length),
            batch_size=val_batch_size,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        ),
        train_cfg=dict(
            type='IterBasedTrainLoop',
            max_iters=max_iters,
            val_interval=val_interval,
            dynamic_intervals=dynamic_intervals,
        ),
        val_cfg=dict(),
        val_evaluator=dict(type='ToyScore'),
        optim_wrapper=dict(
            constructor='ToyOptimizers',
            accumulative_counts=accumulative_counts,
            first={'lr': 0.03, **(first or {})},
            second={'lr': 0.02, 'momentum': 0.9, **(second or {})},
        ),
        param_scheduler=schedule,
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
            checkpoint=dict(type=checkpoint_type, by_epoch=False, **{'interval': 5, **(checkpoint or {})}),
        ),
        custom_hooks=list(hooks),
        log_processor=log_processor or dict(by_epoch=False),
        load_from=point.path if point else load_from,
        resume=point is not None,
        randomness=dict(seed=seed),
        default_scope='mmseg',
        log_level='INFO',
        experiment_name=f'{Path(work_dir).name}_{time.time_ns()}',
    )


def train(work_dir, **settings):
    """Train in this process."""
    install_safe_loader()
    runner = build_runner(work_dir, **settings)
    try:
        runner.train()
    finally:
        iterations = runner.message_hub.get_info('iter', -1) + 1
        (Path(work_dir) / 'log').mkdir(exist_ok=True)
        Path(work_dir, 'log', f'last_iteration.{os.environ.get("RANK", 0)}').write_text(str(iterations))
    return runner


def ask_for_ever(work_dir):
    """Put the question whether to stop, and nothing else, to the other processes."""
    agreement = StopAgreement()
    while not agreement.ask(False):
        Path(work_dir, f'asked.{os.environ["RANK"]}').touch()
        time.sleep(0.01)


def name_loader(work_dir):
    """Write down who reads MMEngine's checkpoints in a process that has imported the package."""
    loader = CheckpointLoader._get_checkpoint_loader('some.pth')
    Path(work_dir, 'loader').write_text(f'{loader.__module__}.{loader.__name__}')


def _child(work_dir, rank, world_size, task, settings):
    """Work in a child process whose errors end up in ``log/stderr.<rank>``."""
    # no child outlives the tests
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    log = os.open(os.path.join(work_dir, 'log', f'stderr.{rank}'), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ['RANK'] = str(rank)
    if world_size > 1:
        dist.init_process_group('gloo', f'file://{work_dir}/log/rendezvous', rank=rank, world_size=world_size)
    try:
        task(work_dir, **settings)
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def start(work_dir, rank=0, world_size=1, task=train, **settings) -> ForkServerProcess:
    """Start a child process that trains, or does another task."""
    work_dir = Path(work_dir)
    (work_dir / 'log').mkdir(parents=True, exist_ok=True)
    return start_process(_child, str(work_dir), rank, world_size, task, settings)


def finish(process, timeout=300) -> int:
    """Wait for a child and return its exit code."""
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise TimeoutError('The child did not end.')
    return process.exitcode


def wait_for(path, process=None, timeout=300) -> Path:
    """Wait until a file exists."""
    deadline = time.monotonic() + timeout
    path = Path(path)
    while not path.exists():
        if process is not None and not process.is_alive():
            raise RuntimeError(f'The child ended with {process.exitcode} before {path} appeared.')
        if time.monotonic() > deadline:
            raise TimeoutError(f'{path} did not appear.')
        time.sleep(0.0005)
    return path


def last_iteration(work_dir, rank=0) -> int:
    """Tell which iteration a process finished last."""
    return int(Path(work_dir, 'log', f'last_iteration.{rank}').read_text())


def errors(work_dir, rank=0) -> str:
    """Read what a child wrote to its standard error."""
    return Path(work_dir, 'log', f'stderr.{rank}').read_text()
