"""Checks of loss settings, each with one message that names the key."""

import math
import numbers
from typing import Any


def check_number(
    owner: str, key: str, value: Any, above: float = -math.inf, at_least: float = -math.inf, at_most: float = math.inf
) -> float:
    """Return a setting as a float, or refuse it.

    Args:
        owner (str): Name of the class the setting belongs to.
        key (str): Name of the setting.
        value (Any): What was given.
        above (float): The value must be greater than this.
        at_least (float): The value must not be smaller than this.
        at_most (float): The value must not be greater than this.

    Returns:
        float: The value.

    Raises:
        ValueError: If the value is not a finite number in the range.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if number and value > above and at_least <= value <= at_most:
        return float(value)
    limits = [
        f'{words} {limit:g}'
        for words, limit in (('greater than', above), ('at least', at_least), ('at most', at_most))
        if math.isfinite(limit)
    ]
    raise ValueError(f'{owner}: {key} must be {" and ".join(["a finite number", *limits])}, but it is {value!r}.')


def check_choice(owner: str, key: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return a setting that is one of several words, or refuse it.

    Args:
        owner (str): Name of the class the setting belongs to.
        key (str): Name of the setting.
        value (Any): What was given.
        choices (tuple[str, ...]): The words allowed.

    Returns:
        str: The value.

    Raises:
        ValueError: If the value is none of them.
    """
    if value in choices:
        return value
    raise ValueError(f'{owner}: {key} must be one of {", ".join(map(repr, choices))}, but it is {value!r}.')
