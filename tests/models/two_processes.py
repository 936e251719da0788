"""Call a function in two processes of one group."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from torch import distributed

from tests.forked_processes import start_process
from tests.tool_processes import finish_tool


def call_on_two(out: Path, function: Callable, *arguments: object) -> list:
    """Call ``function(rank, *arguments)`` on both ranks and return what each returned, as torch saves it."""
    processes = [start_process(_call, function, rank, str(out), dict(os.environ), arguments) for rank in range(2)]
    assert [finish_tool(process) for process in processes] == [0, 0]
    return [torch.load(out / f'rank{rank}.pth', weights_only=True) for rank in range(2)]


def _call(function: Callable, rank: int, out: str, environment: dict[str, str], arguments: tuple) -> None:
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    distributed.init_process_group('gloo', init_method=f'file://{out}/rendezvous', rank=rank, world_size=2)
    torch.save(function(rank, *arguments), f'{out}/rank{rank}.pth')
    distributed.destroy_process_group()
