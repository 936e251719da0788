"""What the process of one benchmark runs; it imports nothing that the benchmark does not."""

import importlib

import torch


def rows_of(module: str, device: str, threads: int) -> list[dict]:
    """Measure the rows of a module.

    Args:
        module (str): Its full name; behind a colon the part of it, if it has parts.
        device (str): 'cpu' or a GPU.
        threads (int): Threads of a CPU.

    Returns:
        list[Row]: Its rows.
    """
    torch.set_num_threads(threads)
    name, _, part = module.partition(':')
    rows = importlib.import_module(name).rows
    return rows(device=device, parts=(part,)) if part else rows(device=device)
