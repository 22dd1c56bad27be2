"""Standard output, and tables of numbers that fit its width."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NoReturn

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
_PARTS = re.compile(r"[^ _/-]*[ _/-]|[^ _/-]+")


def number_table(
    headers: Sequence[str | Text],
    rows: Sequence[Sequence[str | Text]],
    width: int,
    *,
    n_labels: int = 1,
) -> Table:
    """A table of right-aligned numbers after `n_labels` columns of text; a row may end early.

    On a narrow terminal the last label and the headers wrap before a number loses a digit; inside
    a word only if nothing else is left.  If that is not enough, the last columns are left out.
    """
    label = n_labels - 1
    columns = [[row[i] for row in rows if i < len(row)] for i in range(len(headers))]
    widest = [max(map(len, cells), default=0) for cells in columns]
    unwrapped = list(map(max, widest, map(len, headers)))
    narrow = [*unwrapped[:label], min(unwrapped[label], _MIN_LABEL), *widest[n_labels:]]
    n_shown = len(headers)
    while n_shown > n_labels + 1 and not _fits(narrow[:n_shown], width):
        n_shown -= 1
    with_headers = [
        *narrow[:n_labels],
        *map(max, narrow[n_labels:], map(_word, headers[n_labels:])),
    ]
    words = max(map(_word, [headers[label], *columns[label]]), default=0)
    with_words = [*narrow[:label], max(narrow[label], words), *with_headers[n_labels:]]
    widths = narrow[:n_shown]
    for wanted in (with_headers, with_words, unwrapped):
        if _fits(wanted[:n_shown], width):
            widths = wanted[:n_shown]
    has_room = sum(unwrapped[:n_shown]) + 3 * n_shown - 1 <= width
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1) if has_room else (0, 0, 0, 1))
    # What is left goes to the label, then to the headers.  Rich on its own narrows the widest
    # column first, below its numbers.
    for i in (label, *range(n_labels, n_shown)):
        left = width - sum(widths) - 2 * n_shown
        widths[i] += max(0, min(left, unwrapped[i] - widths[i]))
    for i, header in enumerate(headers[:n_shown]):
        justify: Literal["left", "right"] = "right" if i >= n_labels else "left"
        table.add_column(header, justify=justify, overflow="fold", width=widths[i])
    for row in rows:
        cells = list(row[:n_shown])
        cells[label : label + 1] = [_wrapped(cell, widths[label]) for cell in cells[label:n_labels]]
        table.add_row(*cells)
    return table


def _fits(widths: Sequence[int], width: int) -> bool:
    """The box adds a space at either side and between columns, the padding one more."""
    return sum(widths) + 2 * len(widths) <= width


def _word(text: str | Text) -> int:
    """The length of the longest word."""
    return max(map(len, str(text).split()), default=0)


def _wrapped(label: str | Text, width: int) -> str | Text:
    """A label in lines of `width` characters; a word ends after `_`, `-` and `/` too."""
    if isinstance(label, Text) or len(label) <= width:
        return label
    lines = [""]
    for part in _PARTS.findall(label):
        if lines[-1].strip() and len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)
