"""Standard output, and tables of numbers that fit its width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Screen(Console):
    """Standard output without markup, which leaves a broken pipe to the caller.

    Rich would end the process with exit code 1, which here means that a gate failed.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Raise BrokenPipeError again."""
        raise BrokenPipeError


def number_table(
    headers: Sequence[str | Text],
    rows: Sequence[Sequence[str | Text]],
    width: int,
    *,
    n_labels: int = 1,
) -> Table:
    """A table of right-aligned numbers after `n_labels` columns of text; a row may end early.

    On a narrow terminal the last label and the headers wrap before a number loses a digit.
    """
    widest = [
        max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(len(headers))
    ]
    unwrapped = sum(map(max, widest, map(len, headers)))
    # The box adds one space at either side and between columns, the padding one or two more.
    has_room = unwrapped + 3 * len(headers) - 1 <= width
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1) if has_room else (0, 0, 0, 1))
    for header in headers[: n_labels - 1]:
        table.add_column(header, no_wrap=True)
    table.add_column(headers[n_labels - 1], overflow="fold")
    for header, n in zip(headers[n_labels:], widest[n_labels:], strict=True):
        table.add_column(
            header,
            justify="right",
            overflow="fold",
            min_width=n,
            no_wrap=len(header) <= n,  # else rich would narrow the column below its numbers
        )
    for row in rows:
        table.add_row(*row)
    return table
