"""The result of a check: what was found, on which side of a comparison, and in which rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SideName = Literal["before", "after", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One issue in the texts of a comparison, with the rows that show it."""

    kind: str
    """`shared_opening`, `refusal`, `exact_duplicate`, …: one of `findings.KINDS`."""
    side: SideName
    count: int
    """Rows that show it."""
    share: float
    """Of the rows of that side (or of the pairs), 0…1."""
    text: str
    """What was found: the shared words, or one sentence."""
    row_ids: tuple[str, ...] = ()
    """The first of the rows, at most `pairs.MAX_IDS`."""
    other_count: int | None = None
    """Rows of the other side that show it too; None if the finding does not compare the sides."""
    examples: tuple[str, ...] = ()
    """Short quotations; dropped by `--no-text`."""
    quotes_text: bool = False
    """Whether `text` quotes the dataset, so that `--no-text` must hide it."""
