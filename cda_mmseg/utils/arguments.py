"""Say what a class or a command line takes when it is given something else."""

import functools
import inspect
from collections.abc import Callable


class UsageError(ValueError):
    """The command line cannot be understood."""


def lists_arguments(init: Callable) -> Callable:
    """Let a constructor answer unknown arguments with one ``TypeError`` that lists the known ones."""
    known = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def checked(self: object, *args: object, **kwargs: object) -> None:
        if unknown := [name for name in kwargs if name not in known]:
            raise TypeError(f'{type(self).__name__} does not take {", ".join(unknown)}. It takes {", ".join(known)}.')
        init(self, *args, **kwargs)

    return checked
