"""The rows of the benchmarks: one ratio each, what was asked of it, and whether it is reached."""

import math
from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

Bound = Literal['must', 'aim']


class Row(TypedDict):
    """One comparison.

    Attributes:
        name: What was measured.
        against: What with.
        ratio: Ours over theirs.
        must: Bound of the ratio; None where none was set.
        aim: The bound that we would like to reach.
        ours: The measured figure with its unit.
        theirs: The same of the other side.
        bigger_is_better: Whether the bounds are lower ones.
    """

    name: str
    against: str
    ratio: float
    must: float | None
    aim: float | None
    ours: str
    theirs: str
    bigger_is_better: NotRequired[bool]


def check_row(row: Row, benchmark: str) -> None:
    """Refuse a row that no table can show.

    Args:
        row (Row): The row.
        benchmark (str): Whose it is.

    Raises:
        ValueError: If a key is missing or unknown, or the ratio is no positive number.
    """
    missing = sorted(Row.__required_keys__ - row.keys())
    unknown = sorted(row.keys() - Row.__annotations__.keys())
    if missing or unknown:
        raise ValueError(
            f'benchmarks.{benchmark}: the row {row.get("name")!r} lacks {missing}, and has the unknown {unknown}.'
        )
    if not (math.isfinite(row['ratio']) and row['ratio'] > 0):
        raise ValueError(f'benchmarks.{benchmark}: the ratio of {row["name"]!r} is {row["ratio"]}.')


def reaches(row: Row, bound: Bound) -> bool | None:
    """Say whether a row reaches a bound.

    Args:
        row (Row): The row.
        bound (str): 'must' or 'aim'.

    Returns:
        bool | None: Whether it does; None where none was set.
    """
    limit = row[bound]
    if limit is None:
        return None
    return row['ratio'] >= limit if row.get('bigger_is_better') else row['ratio'] <= limit


def format_table(rows: Sequence[Row]) -> str:
    """Write rows as a Markdown table.

    Args:
        rows (Sequence[Row]): The rows.

    Returns:
        str: The table, without a line break at its end.
    """
    lines = ['| what | against | ratio | must | aim | ours | theirs |', '|---|---|---:|---|---|---:|---:|']
    for row in rows:
        bounds = ' | '.join(_format_bound(row, bound) for bound in ('must', 'aim'))
        # Two digits would call .004 nothing.
        ratio = f'{row["ratio"]:.2f}' if row['ratio'] >= 0.1 else f'{row["ratio"]:.2g}'
        lines.append(f'| {row["name"]} | {row["against"]} | {ratio}× | {bounds} | {row["ours"]} | {row["theirs"]} |')
    return '\n'.join(lines)


def _format_bound(row: Row, bound: Bound) -> str:
    if row[bound] is None:
        return ''
    sign = '≥' if row.get('bigger_is_better') else '≤'
    return f'{sign} {row[bound]:g}× {"reached" if reaches(row, bound) else "**missed**"}'
