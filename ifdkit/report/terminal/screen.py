"""Standard output, and tables of numbers on it, however narrow it is or soon its reader leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Screen(Console):
    """Standard output without markup; a pipe whose reader has left is the caller's to judge.

    Rich would end the process with exit code 1, which means a failed gate here.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Raise BrokenPipeError again."""
        raise BrokenPipeError


_ROOMY = 76
"""Columns from which a table can stand wide apart."""


def number_table(headers: Sequence[str], rows: Sequence[Sequence[str | Text]], width: int) -> Table:
    """A table of numbers whose first column names them; a row may be a name alone.

    Where the terminal is narrow, names and headers wrap before a number loses a digit.
    """
    padding = (0, 1) if width >= _ROOMY else (0, 0, 0, 1)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=padding)
    table.add_column(headers[0], overflow="fold")
    for i, header in enumerate(headers[1:], start=1):
        widest = max((len(row[i]) for row in rows if i < len(row)), default=0)
        table.add_column(
            header,
            justify="right",
            overflow="fold",
            min_width=widest,
            no_wrap=len(header) <= widest,  # which keeps rich from taking width of its numbers
        )
    for row in rows:
        table.add_row(*row)
    return table
