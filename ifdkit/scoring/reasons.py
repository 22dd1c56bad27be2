"""The reasons of rows that are not ok, counted for the summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ifdkit.records import Status
from ifdkit.scoring.rows import ScoreRow

MAX_REASONS = 200
"""Distinct reasons that are counted, so that memory is bounded; the rest are counted together."""
OTHER = "other reasons"
_NUMBER = re.compile(r"\d[\d,]*")


@dataclass(frozen=True, slots=True)
class StatusReason:
    """A reason for a status, and how many rows have it."""

    status: str
    reason: str
    """Its numbers as N if they differ from row to row."""
    count: int


class ReasonCounter:
    """Counts reasons. Those that differ in their numbers only are one."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._wordings: dict[tuple[str, str], str] = {}

    def add(self, rows: Iterable[ScoreRow]) -> None:
        """Count the reasons of these rows."""
        for row in rows:
            if row.status == Status.OK or not row.reason:
                continue
            key = (row.status, _NUMBER.sub("N", row.reason))
            if key not in self._counts and len(self._counts) >= MAX_REASONS:
                key = (row.status, OTHER)
            self._counts[key] += 1
            if self._wordings.setdefault(key, row.reason) != row.reason:
                self._wordings[key] = key[1]

    def most_common(self) -> tuple[StatusReason, ...]:
        """The most frequent first."""
        return tuple(
            StatusReason(key[0], self._wordings[key], count)
            for key, count in self._counts.most_common()
        )
