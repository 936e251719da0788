"""What a checkpoint may be made of.

``torch.load(weights_only=True)`` refuses everything but tensors and plain containers. MMEngine's checkpoints hold a
little more: NumPy numbers and arrays, and the logging history (``HistoryBuffer``), whose pickles call ``getattr`` to
find its statistics. An allow-list with the real ``getattr`` would open every attribute of every allowed object to a
file, so stand-ins answer instead, and take from the file nothing but numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

AllowedGlobal = type | Callable | tuple[type | Callable, str]


class _PlainHistoryBuffer(HistoryBuffer):
    """Rebuild a ``HistoryBuffer`` from a file without the methods that the file wants to give it."""

    def __setstate__(self, state: dict) -> None:
        """Take over the numbers, then become an ordinary ``HistoryBuffer``."""
        try:
            values, counts, max_length = state['_log_history'], state['_count_history'], state['max_length']
            lengths = {np.asarray(values).shape, np.asarray(counts).shape}
        except (TypeError, KeyError) as error:
            raise UnpicklingError(f'a logging history without its numbers ({error})') from None
        if len(lengths) != 1 or not isinstance(max_length, int):
            raise UnpicklingError('a logging history of unequal lengths')
        self.__class__ = HistoryBuffer
        HistoryBuffer.__init__(self, values, counts, max_length)


def _look_up_statistic(owner: Any, name: str) -> None:
    """Stand in for ``getattr``: answer for the statistics of a ``HistoryBuffer``, with nothing that can be called."""
    if owner is not _PlainHistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'getattr({owner!r}, {name!r})')


def _registered_statistic(*arguments: Any) -> None:
    """Stand in for a user's own statistic: a file may name it, as its pickle must, but not call it."""
    raise UnpicklingError('a call of a registered statistic')


def allowed_globals() -> list[AllowedGlobal]:
    """List what a checkpoint may name beyond torch's own tensors and containers.

    Returns:
        list: Classes, functions, and pairs (stand-in, the name that it answers to), as
        :func:`torch.serialization.add_safe_globals` takes them. Dtypes of numbers and strings only.
    """
    number_types = {
        type(np.dtype(code)) for code in (*np.typecodes['All'].replace('O', '').replace('V', ''), 'U1', 'S1')
    }
    # NumPy 2 renamed the module that its pickles name
    reconstruct, scalar = np.array(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    modules = ('numpy.core.multiarray', 'numpy._core.multiarray')
    own_statistics = [
        (_registered_statistic, f'{method.__module__}.{method.__qualname__}')
        for method in HistoryBuffer._statistics_methods.values()
        if not method.__qualname__.startswith('HistoryBuffer.')
    ]
    return [
        np.ndarray,
        np.dtype,
        slice,
        *sorted(number_types, key=str),
        *((reconstruct, f'{module}._reconstruct') for module in modules),
        *((scalar, f'{module}.scalar') for module in modules),
        (_PlainHistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_look_up_statistic, 'builtins.getattr'),
        *own_statistics,
    ]


@contextmanager
def only_allowed_globals() -> Iterator[None]:
    """Put :func:`allowed_globals` in force, and nothing that other code of the process has declared safe.

    The list is the process's: other threads that read checkpoints meanwhile see it too.

    Yields:
        None: While the list is in force; afterwards the former one is.
    """
    former = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(allowed_globals())
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(former)
