import sys

import pytest

from cda_mmseg.visualization.tensorboard import RunTensorboardBackend
from tests.tool_processes import finish_tool, options, output_of, start_tool, wait_until


def test_without_tensorboard_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    with pytest.raises(ImportError, match=r"pip install 'cda_mmseg\[tensorboard\]'"):
        RunTensorboardBackend('run/20261201_100000/vis_data')


def test_a_run_that_was_killed_and_resumed_has_each_step_once(smoke_worlds, tmp_path):
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    run, logged = tmp_path / 'run', tmp_path / 'run' / 'tensorboard'
    arguments = ['--logger', 'tensorboard', '--resume', *options(default_hooks__checkpoint__interval=4)]
    arguments += ['train_cfg.val_interval=4', 'train_cfg.max_iters=12']

    def events():
        found = accumulator.EventAccumulator(str(logged), {'scalars': 0, 'images': 0})
        found.Reload()
        return found

    def has_reached(step):
        return logged.is_dir() and any(event.step >= step for event in events().Scalars('loss'))

    process = start_tool(run, smoke_worlds, *arguments)
    killed = wait_until(lambda: logged.is_dir() and 'loss' in events().Tags()['scalars'] and has_reached(6), process)
    process.kill()
    assert killed, output_of(run)
    process.join()
    assert finish_tool(start_tool(run, smoke_worlds, *arguments)) == 0, output_of(run)
    assert 'resumed epoch: 0, iter: 4' in output_of(run) or 'iter: 8' in output_of(run)
    found = events()
    assert [event.step for event in found.Scalars('loss')] == list(range(1, 13))
    assert [event.step for event in found.Scalars('target/mIoU')] == [4, 8, 12]
    assert [event.step for event in found.Images('panel')] == [4, 8, 12]
    assert len(list(logged.glob('events.*'))) == 2
