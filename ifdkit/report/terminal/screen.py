"""Standard output, and tables of numbers that fit its width."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ifdkit.visible import visible


class Screen(Console):
    """A standard stream without markup, which leaves a broken pipe to the caller.

    Rich would end the process with exit code 1, which here means that a gate failed.  Control
    characters in a text are escaped, whoever prints it, so that only rich's own reach a terminal.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        # The streams of the command line escape what does not come from here.
        stream = getattr(sys.stderr if stderr else sys.stdout, "rendered", None)
        options.setdefault("file", stream)
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of an object, with control characters of its texts escaped."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible(text), style)

    def on_broken_pipe(self) -> NoReturn:
        """Raise BrokenPipeError again."""
        raise BrokenPipeError


_MIN_LABEL = 8
"""Columns that a label keeps, however narrow the terminal."""


def number_table(
    headers: Sequence[str | Text],
    rows: Sequence[Sequence[str | Text]],
    width: int,
    *,
    n_labels: int = 1,
) -> Table:
    """A table of right-aligned numbers after `n_labels` columns of text; a row may end early.

    On a narrow terminal the last label and the headers wrap before a number loses a digit.  If that
    is not enough, the last columns are left out.
    """
    widest = [
        max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(len(headers))
    ]
    unwrapped = list(map(max, widest, map(len, headers)))
    least = [
        *unwrapped[: n_labels - 1],
        min(unwrapped[n_labels - 1], _MIN_LABEL),
        *widest[n_labels:],
    ]
    # The box adds a space at either side and between columns; the padding adds one or two more.
    n_shown = len(headers)
    while n_shown > n_labels + 1 and sum(least[:n_shown]) + 2 * n_shown > width:
        n_shown -= 1
    has_room = sum(unwrapped[:n_shown]) + 3 * n_shown - 1 <= width
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1) if has_room else (0, 0, 0, 1))
    for i, header in enumerate(headers[:n_shown]):
        is_number = i >= n_labels
        table.add_column(
            header,
            justify="right" if is_number else "left",
            overflow="fold",
            min_width=least[i],
            # Else rich would narrow a column below its numbers.
            no_wrap=len(header) <= least[i] if is_number else i < n_labels - 1,
        )
    for row in rows:
        table.add_row(*row[:n_shown])
    return table
