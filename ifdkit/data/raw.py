"""What file readers hand to layouts: one value per row, or the reason there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ifdkit.records import Reject

MAX_ROW_BYTES = 32 * 2**20
"""Longest row that is read; a longer one is rejected, so memory stays bounded."""
MAX_DEPTH = 100
"""Deepest nesting of lists and objects that is read."""
MAX_TURNS = 2000
"""Longest conversation that is read: every turn's example repeats all that came before it."""


@dataclass(frozen=True, slots=True)
class Raw:
    """One row as it stands in the file."""

    row: int
    value: Any = None
    error: str | None = None
    """Why the row has no value, or None."""
    line: int | None = None
    byte_offset: int | None = None

    def reject(self, reason: str) -> Reject:
        """The rejection of this row."""
        return Reject(self.row, self.line, self.byte_offset, reason)
