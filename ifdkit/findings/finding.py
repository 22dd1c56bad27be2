"""What a check of texts found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SideName = Literal["before", "after", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that many numbers would hide."""

    kind: str
    """`shared_opening`, `shared_closing`, `refusal`, `duplicate_response`, …"""
    side: SideName
    count: int
    """Rows that show it."""
    share: float
    """Of the rows of that side (or of the pairs), 0…1."""
    text: str
    """What was found: the opening, or one sentence."""
    row_ids: tuple[str, ...] = ()
    """The first of the rows."""
    other_count: int | None = None
    """Rows of the other side that show it too, where that is a question."""
    examples: tuple[str, ...] = ()
    """Short quotations; dropped by `--no-text`."""
    quotes_text: bool = False
    """Whether `text` holds words of the dataset, which `--no-text` must not show."""
