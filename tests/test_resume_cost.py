"""Resuming costs the same at every iteration: tools/train.py decodes nothing that it will not train on."""

from functools import partial

import pytest

from benchmarks.reliability import write_checkpoint_at
from cda_mmseg.engine.checkpointing import find_resume_point
from tests.tool_processes import finish_tool, options, output_of, record_opens, start_tool


@pytest.fixture(scope='module')
def trained(smoke_worlds, tmp_path_factory):
    """The checkpoint of a run of ten iterations."""
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    schedule = options(train_cfg__max_iters=10, train_cfg__val_interval=20)
    assert finish_tool(start_tool(work_dir, smoke_worlds, *schedule)) == 0, output_of(work_dir)[-3000:]
    return work_dir / 'iter_10.pth'


def test_as_many_samples_are_read_at_iteration_100_000_as_at_10(trained, smoke_worlds, tmp_path):
    reads, sizes = {}, {}
    for iteration in (10, 100_000):
        work_dir, listing = tmp_path / str(iteration), tmp_path / f'{iteration}.txt'
        work_dir.mkdir()
        write_checkpoint_at(iteration, str(trained), work_dir / f'iter_{iteration}.pth')
        schedule = options(train_cfg__max_iters=iteration + 3, train_cfg__val_interval=10**6)
        tool = start_tool(work_dir, smoke_worlds, '--resume', *schedule, prepare=partial(record_opens, str(listing)))
        assert finish_tool(tool) == 0, output_of(work_dir)[-3000:]
        # the end of a run is validated too, on other images of the target and on the same of the source
        images = [line for line in listing.read_text().splitlines() if line.endswith('.png')]
        reads[iteration] = [sum(part in path for path in images) for part in ('gtav/images', 'leftImg8bit/train')]
        point = find_resume_point(str(work_dir))
        assert point.iteration == iteration + 3
        assert point.samples_consumed == dict(source=iteration + 3, target=iteration + 3)
        sizes[iteration] = (work_dir / f'iter_{iteration + 3}.pth').stat().st_size
    assert reads[10] == reads[100_000]
    assert reads[10][1] == 3
    assert abs(sizes[10] - sizes[100_000]) < 1000
