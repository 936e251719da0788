"""What the process of one benchmark runs; it imports nothing that the benchmark does not."""

import importlib

import torch


def rows_of(module: str, device: str, threads: int) -> list[dict]:
    """Measure the rows of a module.

    Args:
        module (str): Its full name.
        device (str): 'cpu' or a GPU.
        threads (int): Threads of a CPU.

    Returns:
        list[Row]: Its rows.
    """
    torch.set_num_threads(threads)
    return importlib.import_module(module).rows(device=device)
