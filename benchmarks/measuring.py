"""What the benchmarks share: quiet machines, functions in turns, peak memory."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch

BUSY_LOAD = 0.5


def busy() -> str | None:
    """Say why the machine is too busy to measure on, if it is.

    Returns:
        str | None: The reason, None on a quiet machine.
    """
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        return f'The machine is busy (load {load:.2f} > {BUSY_LOAD}): no table. Try again later.'
    return None


def machine(device: str, threads: int) -> str:
    """Describe where something was measured.

    Args:
        device (str): 'cpu' or a GPU.
        threads (int): Threads of a CPU.

    Returns:
        str: For a line below a table.
    """
    if device != 'cpu':
        return f'{torch.cuda.get_device_name(device)}, torch {torch.__version__}'
    model = platform.machine()
    if os.path.exists('/proc/cpuinfo'):
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            names = [line.split(':', 1)[1].strip() for line in file if line.startswith('model name')]
        model = names[0] if names else model
    return f'{model} ({torch.backends.cpu.get_cpu_capability()}), {threads} threads, torch {torch.__version__}'


def synchronize(device: str) -> None:
    """Wait for a GPU.

    Args:
        device (str): 'cpu' or a GPU.
    """
    if device != 'cpu':
        torch.cuda.synchronize()


def times_in_turns(
    functions: Mapping[str, Callable[[], object]], repeats: int, device: str = 'cpu', warm_up: int = 2
) -> dict[str, list[float]]:
    """Time functions in turns, so that what else the machine does meets all of them.

    Args:
        functions (Mapping[str, Callable]): What to time, by name.
        repeats (int): Rounds that count.
        device (str): 'cpu' or a GPU.
        warm_up (int): Rounds before that do not.

    Returns:
        dict[str, list[float]]: Seconds of each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(-warm_up, repeats):
        for name, function in functions.items():
            synchronize(device)
            start = time.perf_counter()
            function()
            synchronize(device)
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def medians_in_turns(
    functions: Mapping[str, Callable[[], object]], repeats: int, device: str = 'cpu', warm_up: int = 2
) -> dict[str, float]:
    """Return the medians of :func:`times_in_turns`.

    Args:
        functions (Mapping[str, Callable]): What to time, by name.
        repeats (int): Rounds that count.
        device (str): 'cpu' or a GPU.
        warm_up (int): Rounds before that do not.

    Returns:
        dict[str, float]: Median seconds, by name.
    """
    seconds = times_in_turns(functions, repeats, device, warm_up)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(function: Callable[[], object], device: str) -> int:
    """Return the largest number of bytes allocated at a time by a function, beyond those allocated before.

    Args:
        function (Callable): Called twice; the second call is measured.
        device (str): 'cpu', where PyTorch's profiler counts every allocation, or a GPU.

    Returns:
        int: Bytes.
    """
    function()
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == '[memory]']
    peak = current = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak
