"""How the cells of a CSV file are separated, found from its first line."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

_SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")
"""The first line by which Excel is told the separator."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the cells of a CSV file are separated."""

    delimiter: str
    has_separator_line: bool = False
    """Whether a line such as `sep=;` precedes the header."""

    @property
    def description(self) -> str:
        """Such as `columns are separated by semicolons`."""
        return f"columns are separated by {_NAMES.get(self.delimiter, repr(self.delimiter))}"


def sniff(head: bytes, expected: str) -> Dialect:
    """The dialect of a file that begins with these bytes.

    The expected separator counts if it separates the header; else the one that gives the most
    columns.
    """
    text = head.decode("utf-8-sig", errors="replace")
    if match := _SEPARATOR_LINE.match(text):
        return Dialect(match[1], has_separator_line=True)
    if _n_columns(text, expected) > 1:
        return Dialect(expected)
    best = max(_SEPARATORS, key=lambda one: _n_columns(text, one))
    return Dialect(best if _n_columns(text, best) > 1 else expected)


def _n_columns(text: str, delimiter: str) -> int:
    try:
        return len(
            next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        )
    except (csv.Error, StopIteration):
        return 0
