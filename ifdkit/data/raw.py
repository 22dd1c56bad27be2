"""Rows as file readers return them: one value each, or the reason why there is none."""

from __future__ import annotations

from typing import Any

from ifdkit.records import Reject
from ifdkit.row_type import row_type

MAX_ROW_BYTES = 32 * 2**20
"""Longer rows are rejected, so that memory stays bounded."""
MAX_DEPTH = 100
"""Rows with deeper nesting of lists and objects are rejected."""
MAX_VALUES = 1_000_000
"""Rows with more values are rejected: a list of 3 bytes of JSON takes 64 bytes of memory."""
MAX_TURNS = 2000
"""Longer conversations are rejected: the example of each turn repeats all turns before it."""


@row_type(frozen=True, slots=True)
class Raw:
    """One row as it is in the file."""

    row: int
    value: Any = None
    error: str | None = None
    """Why the row has no value, or None."""
    line: int | None = None
    """1-based line on which the row starts, if the format has lines."""
    byte_offset: int | None = None
    """0-based offset in the decompressed file (of UTF-16 in its UTF-8 form), if there is one."""
    n_bytes: int | None = None
    """Length in bytes of its text, with white space around it; None if it is not JSON text."""
    is_line: bool = False
    """Whether its text is a line or a part of one, which can be copied as a line."""

    def reject(self, reason: str) -> Reject:
        """The rejection of this row."""
        return Reject(self.row, self.line, self.byte_offset, reason)


def too_long(max_bytes: int) -> str:
    """The reason for rejecting a longer row."""
    return f"longer than {max_bytes:,} bytes"


def too_many(max_values: int) -> str:
    """The reason for rejecting a row of more values."""
    return f"has more than {max_values:,} values"
