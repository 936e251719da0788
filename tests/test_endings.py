"""How runs of tools/train.py end before their time: asked to, or because a loss is not finite; and how they go on."""

import os
import re
import signal
from pathlib import Path

import pytest

from cda_mmseg.engine.checkpointing import find_resume_point, read_resume_point
from tests.engine.hooks.run_state import assert_identical, checkpoints, log_of, state_of
from tests.tool_processes import SMOKE, finish_tool, options, output_of, start_tool, wait_until

ITERATIONS = 20
SCHEDULE = options(train_cfg__max_iters=ITERATIONS, train_cfg__val_interval=100, default_hooks__checkpoint__interval=8)


@pytest.fixture(scope='module')
def whole(smoke_worlds, tmp_path_factory):
    """A run with another seed than the config's that nothing happens to."""
    work_dir = tmp_path_factory.mktemp('whole') / 'run'
    assert finish_tool(start_tool(work_dir, smoke_worlds, '--seed', '5', *SCHEDULE)) == 0, output_of(work_dir)[-3000:]
    return work_dir


def steps_logged(work_dir: Path) -> int:
    return sum(file.read_bytes().count(b'\n') for file in work_dir.glob('*/vis_data/scalars.json'))


def assert_same_run(work_dir: Path, whole: Path) -> None:
    assert_identical(state_of(work_dir / f'iter_{ITERATIONS}.pth'), state_of(whole / f'iter_{ITERATIONS}.pth'))
    assert_identical(log_of(work_dir), log_of(whole), 'log')


def spoilt_config(folder: Path, hook: str) -> str:
    """Write a smoke config with a hook that breaks the run."""
    path = folder / 'spoilt.py'
    path.write_text(
        f'_base_ = {SMOKE!r}\n'
        "custom_imports = dict(imports=['cda_mmseg.registration', 'tests.spoil_weights'])\n"
        f'custom_hooks = [*_base_.custom_hooks, {hook}]\n'
    )
    return str(path)


def test_a_run_that_is_asked_to_stop_goes_on_with_its_own_seed(whole, smoke_worlds, tmp_path):
    work_dir = tmp_path / 'run'
    process = start_tool(work_dir, smoke_worlds, '--seed', '5', *SCHEDULE)
    assert wait_until(lambda: steps_logged(work_dir) > 0, process)
    os.kill(process.pid, signal.SIGTERM)
    assert finish_tool(process) == 75, output_of(work_dir)[-3000:]
    point = find_resume_point(str(work_dir))
    assert 0 < point.iteration < ITERATIONS and point.seed == 5
    assert f'Stopped by a signal after {point.iteration} iterations' in output_of(work_dir)

    assert finish_tool(start_tool(work_dir, smoke_worlds, '--resume', '--seed', '6', *SCHEDULE)) == 0
    output = output_of(work_dir)
    warning = f'The run goes on with its own seed 5, as {point.path} says; the seed 6 that was asked for is left aside.'
    assert len(re.findall(f'WARNING.*{re.escape(warning)}', output)) == 1
    assert read_resume_point(str(work_dir / f'iter_{ITERATIONS}.pth')).seed == 5
    assert_same_run(work_dir, whole)


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(whole, smoke_worlds, tmp_path):
    """The error names player, term and files; without the cause the run goes on as if nothing had happened."""
    work_dir = tmp_path / 'run'
    config = spoilt_config(tmp_path, "dict(type='SpoilWeights', iteration=13)")
    process = start_tool(work_dir, smoke_worlds, '--seed', '5', *SCHEDULE, config=config)
    assert finish_tool(process) == 1
    message = output_of(work_dir).strip().splitlines()[-1]
    assert 'NonFiniteLossError: The loss of the discriminator is not finite at iteration 13: ' in message
    assert 'source/fake = nan' in message
    assert re.search(r"Files in the batch: \['\S+gtav/images/\d+\.png', '\S+leftImg8bit/train\S+\.png'\]", message)
    assert [name for name in checkpoints(work_dir) if name.startswith('iter')] == ['iter_8.pth']
    weights = state_of(work_dir / 'iter_8.pth')['state_dict']
    assert all(value.isfinite().all() for value in weights.values())

    assert finish_tool(start_tool(work_dir, smoke_worlds, '--resume', *SCHEDULE)) == 0
    assert_same_run(work_dir, whole)


def test_what_the_error_advises_works(smoke_worlds, tmp_path):
    """A rate that explodes at a milestone: the run stops, and with a lower one it goes on from its last checkpoint."""
    work_dir = tmp_path / 'run'
    config = tmp_path / 'hot.py'
    config.write_text(
        f'_base_ = {SMOKE!r}\n'
        "param_scheduler = dict(encoder=[dict(type='MultiStepLR', by_epoch=False, milestones=[10], gamma=1e25)])\n"
    )
    assert finish_tool(start_tool(work_dir, smoke_worlds, *SCHEDULE, config=str(config))) == 1
    message = output_of(work_dir).strip().splitlines()[-1]
    assert 'NonFiniteLossError' in message and 'resume from the last checkpoint with a lower learning rate' in message
    stopped_at = int(re.search(r'at iteration (\d+)', message)[1])
    point = find_resume_point(str(work_dir))
    assert 0 < point.iteration <= stopped_at < ITERATIONS

    lower = (*SCHEDULE, 'optim_wrapper.encoder.optimizer.lr=1e-31')
    assert finish_tool(start_tool(work_dir, smoke_worlds, '--resume', *lower, config=str(config))) == 0
    warning = f'WARNING - This run goes on at iteration {point.iteration} with other settings'
    assert re.search(f'{warning}.*\n  encoder: lr 1e-05 → 1e-31\n', output_of(work_dir))
    rates = dict(log_of(work_dir)['training', 'encoder.lr'])
    assert rates[point.iteration] == 1e-5
    assert rates[ITERATIONS] == pytest.approx(1e-31 * 1e25)


def test_float16_that_never_updates_a_player_is_an_error(smoke_worlds, tmp_path):
    work_dir = tmp_path / 'run'
    config = spoilt_config(tmp_path, "dict(type='SpoilGradients')")
    arguments = ('--amp', 'float16', *options(train_cfg__max_iters=3, train_cfg__val_interval=100))
    assert finish_tool(start_tool(work_dir, smoke_worlds, *arguments, config=config)) == 1
    message = output_of(work_dir).strip().splitlines()[-1]
    assert 'NoUpdateError: None of the last 3 updates of the encoder was made' in message
    assert 'bfloat16' in message
